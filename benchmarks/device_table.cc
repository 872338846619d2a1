#include "benchmarks/device_table.h"

#include <cstdio>

#include "core/base/error.h"

namespace swy::bench {
namespace {

// A counter by a format for it; blank where the case does not have it.
std::string cell(const benchmark::UserCounters& counters, const char* name, const char* format, double scale = 1) {
  const auto at = counters.find(name);
  if (at == counters.end()) return {};
  char text[32];
  std::snprintf(text, sizeof text, format, scale * at->second.value);
  return text;
}

}  // namespace

DeviceTable::DeviceTable(const std::string& file) : file_name_(file) {
  SetErrorStream(&unsaid_);
  if (file.empty()) return;
  file_.open(file);
  if (!file_) environment_error("cannot write ", file);
  json_.SetOutputStream(&file_), json_.SetErrorStream(&file_);
}

bool DeviceTable::ReportContext(const Context& context) {
  if (opened_) return true;
  opened_ = true;
  if (file_.is_open() && !json_.ReportContext(context)) return false;
  std::printf("%-58s %9s %8s %8s %8s %8s %8s %8s  %s\n", "case", "ms", "TFLOP/s", "of gemm", "of copy", "host ms",
              "SM MHz", "J/token", "throttled");
  return true;
}

void DeviceTable::ReportRuns(const std::vector<Run>& runs) {
  if (file_.is_open()) json_.ReportRuns(runs);
  const Run* first = runs.empty() ? nullptr : &runs.front();
  if (first && first->run_type == Run::RT_Iteration) {
    throttled_ = false;
    for (const Run& run : runs)
      if (const auto at = run.counters.find("throttled"); at != run.counters.end()) throttled_ |= at->second.value > 0;
    for (const Run& run : runs)
      if (run.error_occurred) {
        std::printf("%-58s %s\n", run.run_name.function_name.c_str(), run.error_message.c_str());
        break;
      }
    if (runs.size() == 1 && !first->error_occurred) line(*first, throttled_);
  }
  for (const Run& run : runs)
    if (run.run_type == Run::RT_Aggregate && run.aggregate_name == "median") line(run, throttled_);
  std::fflush(stdout);
}

void DeviceTable::line(const Run& run, bool throttled) {
  const auto& c = run.counters;
  const std::string rate = c.count("GB/s") ? cell(c, "GB/s", "%.0f GB/s") : cell(c, "TFLOP/s", "%.1f");
  std::printf("%-58s %9.4f %8s %8s %8s %8s %8s %8s  %s\n", run.run_name.function_name.c_str(),
              run.GetAdjustedRealTime(), rate.c_str(), cell(c, "share_of_gemm", "%.1f %%", 100).c_str(),
              cell(c, "share_of_copy", "%.1f %%", 100).c_str(), cell(c, "host_ms", "%.3f").c_str(),
              cell(c, "sm_mhz", "%.0f").c_str(), cell(c, "J/token", "%.2e").c_str(),
              !c.count("throttled") ? ""
              : throttled           ? cat("yes ", run.report_label).c_str()
                                    : "no");
}

void DeviceTable::close() {
  if (!file_.is_open()) return;
  if (opened_) json_.Finalize();
  file_.close();
  if (!file_) environment_error("cannot write all of ", file_name_);
}

}  // namespace swy::bench
