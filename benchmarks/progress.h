// What a person sees while a suite runs: on a terminal one line, redrawn; piped, a plain line per finished cell and one
// per running cell every half minute.
#pragma once
#include <cstdio>
#include <map>
#include <mutex>
#include <string>

#include "benchmarks/cell.h"
#include "benchmarks/timing.h"

namespace swy::bench {

// "0:07", "12:30", "3:05:00"
std::string duration_text(double seconds);

// Calls may come from several threads.
class ProgressBoard {
 public:
  // `cells`: how many will run. `terminal`: whether the line may be redrawn.
  ProgressBoard(int cells, bool terminal, std::FILE* stream) : cells_(cells), terminal_(terminal), stream_(stream) {}

  void start(int cell, const std::string& name);
  void update(int cell, const Progress&);
  void finish(int cell, const std::string& outcome);

 private:
  struct Running {
    std::string name;
    double share = 0, printed_s = 0;
  };
  double left_s() const;  // for all cells, from the rate so far
  void clear_line();

  const int cells_;
  const bool terminal_;
  std::FILE* const stream_;
  std::mutex mutex_;
  std::map<int, Running> running_;
  int finished_ = 0;
  Stopwatch watch_;
};

}  // namespace swy::bench
