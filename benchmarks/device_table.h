// The table of `bench --device cuda`: a line per case, medians over its repetitions; the file gets everything.
#pragma once
#include <benchmark/benchmark.h>

#include <fstream>
#include <sstream>
#include <string>
#include <vector>

namespace swy::bench {

// Several runs of Google Benchmark as one: one table, and one document of JSON in its own format.
class DeviceTable : public benchmark::BenchmarkReporter {
 public:
  // Writes the document to `file` unless it is empty. Throws Error (environment) when it cannot be written.
  explicit DeviceTable(const std::string& file);
  bool ReportContext(const Context&) override;
  void ReportRuns(const std::vector<Run>& runs) override;  // all repetitions of a case, then what was made of them
  void Finalize() override {}                              // of one run of several
  void close();                                            // after the last; throws like the constructor

 private:
  void line(const Run&, bool throttled);
  std::string file_name_;
  std::ofstream file_;
  std::ostringstream unsaid_;  // what Google Benchmark says of a filter that matches nothing of one run of several
  benchmark::JSONReporter json_;
  bool opened_ = false, throttled_ = false;  // throttled: in any repetition of the case at hand
};

}  // namespace swy::bench
