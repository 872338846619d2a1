// One child process under limits. A cell of a suite, or a case of a check, runs in a process of its own, so that a
// plugin that crashes, hangs or floods its output costs one result and not the run.
//
// The child leads a process group; at the time limit the whole group is killed, and so is whatever the child left
// running when it ended. It dies with the thread that started it (Ctrl-C on the parent included).
#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace swy {

struct ProcessSpec {
  std::vector<std::string> argv;  // argv[0]: path of the program
  double time_limit_s = 0;        // wall time; 0 = none
  int64_t memory_limit = 0;       // bytes of private writable memory (RLIMIT_DATA); 0 = none
};

struct ProcessResult {
  enum class End { kExited, kSignalled, kTimedOut };
  End end = End::kExited;
  int code = 0;    // kExited: exit code
  int signal = 0;  // kSignalled: number of the signal
  double wall_s = 0;
  int64_t peak_rss = 0;     // bytes
  std::string stderr_tail;  // the last 8 KiB
  bool ok() const { return end == End::kExited && code == 0; }
};

// Runs the child to its end. `on_line` gets each line of its stdout as it comes, without the newline; of a line longer
// than 64 KiB only the start; it must not throw. Throws Error (environment) when the child cannot be started.
ProcessResult run_process(const ProcessSpec&, const std::function<void(const std::string&)>& on_line = nullptr);

// "SIGSEGV (segmentation fault)"
std::string signal_name(int signal);
// The last line with text in it, or empty.
std::string last_line(const std::string& text);

}  // namespace swy
