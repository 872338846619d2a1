#include "core/base/subprocess.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>

#include "core/base/error.h"

namespace swy {
namespace {

constexpr size_t kTail = 8192, kLongestLine = 65536;

// Close-on-exec, so that children started by other threads at the same time do not hold each other's pipes open.
struct Pipe {
  int end[2] = {-1, -1};
  Pipe() {
    if (pipe2(end, O_CLOEXEC) != 0) environment_error("cannot make a pipe: ", std::strerror(errno));
  }
  ~Pipe() {
    close_end(0);
    close_end(1);
  }
  void close_end(int i) {
    if (end[i] >= 0) close(end[i]);
    end[i] = -1;
  }
};

// In the child, between fork and exec: only calls that are safe after a fork of a threaded process.
[[noreturn]] void become_child(const ProcessSpec& spec, char* const* argv, pid_t parent, int out, int err, int report) {
  setpgid(0, 0);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(127);  // the parent died before the line above took hold
  const int null = open("/dev/null", O_RDONLY);
  dup2(null, 0);
  dup2(out, 1);
  dup2(err, 2);
  const rlimit no_core{0, 0};
  setrlimit(RLIMIT_CORE, &no_core);
  if (spec.memory_limit > 0) {
    const rlimit limit{static_cast<rlim_t>(spec.memory_limit), static_cast<rlim_t>(spec.memory_limit)};
    setrlimit(RLIMIT_DATA, &limit);
  }
  execv(argv[0], argv);
  const int reason = errno;
  if (write(report, &reason, sizeof reason) != sizeof reason) _exit(126);
  _exit(127);
}

class LineSplitter {
 public:
  explicit LineSplitter(const std::function<void(const std::string&)>& on_line) : on_line_(on_line) {}
  void add(const char* data, size_t n) {
    for (size_t i = 0; i < n; ++i) {
      if (data[i] == '\n') {
        flush();
      } else if (line_.size() < kLongestLine) {
        line_ += data[i];
      }
    }
  }
  void finish() {
    if (!line_.empty()) flush();
  }

 private:
  void flush() {
    if (on_line_) on_line_(line_);
    line_.clear();
  }
  const std::function<void(const std::string&)>& on_line_;
  std::string line_;
};

// Reads once what is there; returns bytes, 0 for nothing yet, -1 at the end of the file.
template <class Sink>
ssize_t read_some(int fd, Sink&& sink) {
  char buffer[16384];
  const ssize_t n = read(fd, buffer, sizeof buffer);
  if (n > 0) sink(buffer, static_cast<size_t>(n));
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return 0;
  return n > 0 ? n : -1;
}

template <class Sink>
void drain(int fd, Sink&& sink) {
  for (int reads = 0; reads < 64 && fd >= 0; ++reads) {
    if (read_some(fd, sink) <= 0) return;
  }
}

}  // namespace

ProcessResult run_process(const ProcessSpec& spec, const std::function<void(const std::string&)>& on_line) {
  std::vector<char*> argv;
  for (const std::string& a : spec.argv) argv.push_back(const_cast<char*>(a.c_str()));
  argv.push_back(nullptr);

  Pipe out, err, report;
  const pid_t parent = getpid();
  using Clock = std::chrono::steady_clock;
  const Clock::time_point start = Clock::now();
  const pid_t child = fork();
  if (child < 0) environment_error("cannot start '", spec.argv[0], "': ", std::strerror(errno));
  if (child == 0) become_child(spec, argv.data(), parent, out.end[1], err.end[1], report.end[1]);
  setpgid(child, child);  // in both processes, so that it holds whoever runs first
  out.close_end(1);
  err.close_end(1);
  report.close_end(1);
  int reason = 0;
  if (read(report.end[0], &reason, sizeof reason) == sizeof reason) {
    waitpid(child, nullptr, 0);
    environment_error("cannot start '", spec.argv[0], "': ", std::strerror(reason));
  }

  ProcessResult result;
  LineSplitter lines(on_line);
  const auto to_lines = [&](const char* data, size_t n) { lines.add(data, n); };
  const auto keep_tail = [&](const char* data, size_t n) {
    result.stderr_tail.append(data, n);
    if (result.stderr_tail.size() > 2 * kTail) result.stderr_tail.erase(0, result.stderr_tail.size() - kTail);
  };
  const auto elapsed = [&] { return std::chrono::duration<double>(Clock::now() - start).count(); };
  fcntl(out.end[0], F_SETFL, O_NONBLOCK);
  fcntl(err.end[0], F_SETFL, O_NONBLOCK);
  pollfd fds[2] = {{out.end[0], POLLIN, 0}, {err.end[0], POLLIN, 0}};
  int status = 0;
  rusage usage{};
  for (;;) {
    // A grandchild may hold the pipes open after the child has gone, so the end is the child's and not the pipes'.
    poll(fds, 2, 20);
    if (fds[0].revents && read_some(fds[0].fd, to_lines) < 0) fds[0].fd = -1;
    if (fds[1].revents && read_some(fds[1].fd, keep_tail) < 0) fds[1].fd = -1;
    if (wait4(child, &status, WNOHANG, &usage) == child) break;
    if (spec.time_limit_s > 0 && elapsed() > spec.time_limit_s) {
      kill(-child, SIGKILL);
      wait4(child, &status, 0, &usage);
      result.end = ProcessResult::End::kTimedOut;
      break;
    }
  }
  kill(-child, SIGKILL);  // what the child left behind
  // What is still in the pipes: at most their buffers, unless a writer has escaped the group.
  drain(fds[0].fd, to_lines);
  drain(fds[1].fd, keep_tail);
  lines.finish();

  result.wall_s = elapsed();
  result.peak_rss = int64_t{usage.ru_maxrss} * 1024;
  if (result.stderr_tail.size() > kTail) result.stderr_tail.erase(0, result.stderr_tail.size() - kTail);
  if (result.end != ProcessResult::End::kTimedOut) {
    if (WIFSIGNALED(status)) {
      result.end = ProcessResult::End::kSignalled;
      result.signal = WTERMSIG(status);
    } else {
      result.code = WEXITSTATUS(status);
    }
  }
  return result;
}

std::string signal_name(int signal) {
  const char* name = sigabbrev_np(signal);
  const char* text = sigdescr_np(signal);
  if (!name || !text) return cat("signal ", signal);
  std::string lower = text;
  if (!lower.empty()) lower[0] = static_cast<char>(std::tolower(static_cast<unsigned char>(lower[0])));
  return cat("SIG", name, " (", lower, ")");
}

std::string last_line(const std::string& text) {
  const size_t end = text.find_last_not_of(" \r\n\t");
  if (end == std::string::npos) return "";
  const size_t begin = text.find_last_of('\n', end);
  return text.substr(begin == std::string::npos ? 0 : begin + 1,
                     end - (begin == std::string::npos ? 0 : begin + 1) + 1);
}

}  // namespace swy
