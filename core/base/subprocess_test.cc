#include "core/base/subprocess.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <fstream>
#include <thread>

#include "core/base/error.h"

namespace swy {
namespace {

using End = ProcessResult::End;

ProcessSpec shell(const std::string& script, double limit_s = 20) { return {{"/bin/sh", "-c", script}, limit_s, 0}; }

// Proves that the lines arrive in order, that an unfinished last line counts, and that the exit code is the child's.
TEST(Subprocess, PassesLinesAndExitCode) {
  std::vector<std::string> lines;
  const ProcessResult r =
      run_process(shell("echo one; echo; printf three; exit 7"), [&](const std::string& l) { lines.push_back(l); });
  EXPECT_EQ(lines, (std::vector<std::string>{"one", "", "three"}));
  EXPECT_EQ(r.end, End::kExited);
  EXPECT_EQ(r.code, 7);
  EXPECT_FALSE(r.ok());
  EXPECT_GT(r.peak_rss, 0);
}

// Proves that a crash is a result with the signal's name and the reason the child gave.
TEST(Subprocess, CrashIsAResult) {
  const ProcessResult r = run_process(shell("echo first >&2; echo why >&2; kill -SEGV $$"));
  EXPECT_EQ(r.end, End::kSignalled);
  EXPECT_EQ(r.signal, SIGSEGV);
  EXPECT_EQ(signal_name(r.signal), "SIGSEGV (segmentation fault)");
  EXPECT_EQ(last_line(r.stderr_tail), "why");
}

// Proves that a hanging child is killed at the limit together with the grandchild it waits for.
TEST(Subprocess, HangIsKilledWithItsGroup) {
  pid_t grandchild = 0;
  const ProcessResult r =
      run_process(shell("sleep 100 & echo $!; wait", 0.3), [&](const std::string& l) { grandchild = std::stoi(l); });
  EXPECT_EQ(r.end, End::kTimedOut);
  EXPECT_GE(r.wall_s, 0.3);
  EXPECT_LT(r.wall_s, 5);
  ASSERT_GT(grandchild, 1);
  for (int i = 0; i < 200 && kill(grandchild, 0) == 0; ++i) {  // reaped by init, not by us: give it a moment
    std::ifstream stat("/proc/" + std::to_string(grandchild) + "/stat");
    std::string text;
    std::getline(stat, text);
    if (text.find(") Z ") != std::string::npos) return;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  EXPECT_NE(kill(grandchild, 0), 0);
}

// Proves that a child that ends while its own child keeps the pipe open does not keep us waiting.
TEST(Subprocess, EndsWithTheChild) {
  const ProcessResult r = run_process(shell("sleep 100 & exit 0"));
  EXPECT_TRUE(r.ok());
  EXPECT_LT(r.wall_s, 5);
}

// Proves that a flood on both outputs neither blocks nor grows memory: whole lines arrive, the tail of stderr is kept.
TEST(Subprocess, OutputFloodIsBounded) {
  size_t lines = 0, longest = 0;
  const ProcessResult r = run_process(shell("head -c 3000000 /dev/zero | tr '\\0' x >&2; head -c 3000000 /dev/zero | "
                                            "tr '\\0' y; echo; yes | head -n 100000; echo end >&2"),
                                      [&](const std::string& l) { ++lines, longest = std::max(longest, l.size()); });
  EXPECT_TRUE(r.ok());
  EXPECT_EQ(lines, 100001u);
  EXPECT_EQ(longest, 65536u);
  EXPECT_EQ(r.stderr_tail.size(), 8192u);
  EXPECT_EQ(r.stderr_tail.substr(8192 - 4), "end\n");
}

// Proves that the memory limit holds: the allocation fails inside the child and nowhere else.
TEST(Subprocess, MemoryLimit) {
  ProcessSpec spec = shell("head -c 200000000 /dev/zero | tail -c 150000000 >/dev/null");
  spec.memory_limit = 64 << 20;
  EXPECT_FALSE(run_process(spec).ok());
}

// Proves that a program that is not there is an environment error that names it.
TEST(Subprocess, MissingProgram) {
  try {
    run_process({{"/nonexistent/program"}, 1, 0});
    FAIL() << "no error";
  } catch (const Error& e) {
    EXPECT_EQ(e.kind, Kind::kEnvironment);
    EXPECT_STREQ(e.what(), "cannot start '/nonexistent/program': No such file or directory");
  }
}

// Proves that children started side by side get their own output and do not hold each other's pipes.
TEST(Subprocess, SideBySide) {
  std::vector<std::string> got(8);
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&got, i] {
      run_process(shell("echo " + std::to_string(i)),
                  [&got, i](const std::string& l) { got[static_cast<size_t>(i)] = l; });
    });
  }
  for (std::thread& t : threads) t.join();
  for (int i = 0; i < 8; ++i) EXPECT_EQ(got[static_cast<size_t>(i)], std::to_string(i));
}

// Proves that the child does not outlive its parent, however the parent ends.
TEST(Subprocess, DiesWithItsParent) {
  pid_t sleeper = 0;
  const pid_t middle = fork();
  if (middle == 0) {
    run_process(shell("exec sleep 100", 0));
    _exit(0);
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  std::ifstream("/proc/" + std::to_string(middle) + "/task/" + std::to_string(middle) + "/children") >> sleeper;
  kill(middle, SIGKILL);
  waitpid(middle, nullptr, 0);
  if (sleeper == 0) GTEST_SKIP() << "this kernel does not list children in /proc";
  for (int i = 0; i < 200; ++i) {
    std::ifstream stat("/proc/" + std::to_string(sleeper) + "/stat");
    std::string text;
    if (!std::getline(stat, text) || text.find(") Z ") != std::string::npos) return;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  FAIL() << "process " << sleeper << " outlived its parent";
}

}  // namespace
}  // namespace swy
