#include "benchmarks/environment.h"

#include <switchyard_revision.h>  // of the sources compiled, written by revision.cmake
#include <sys/utsname.h>
#include <unistd.h>

#include <cmath>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <opencv2/core/version.hpp>
#include <sstream>
#include <thread>

#include "core/base/error.h"
#include "core/base/parallel.h"
#include "core/ops/gemm.h"

namespace swy::bench {
namespace {

std::string cpu_model() {
  std::ifstream in("/proc/cpuinfo");
  for (std::string line; std::getline(in, line);) {
    const size_t colon = line.find(": ");
    if (line.rfind("model name", 0) == 0 && colon != std::string::npos) return line.substr(colon + 2);
  }
  return "unknown";
}

std::string compiler() {
#if defined(__clang__)
  return cat("clang ", __clang_version__);
#else
  return cat("gcc ", __VERSION__);
#endif
}

std::string instruction_set() {
  std::string set = "x86-64";
#ifdef __AVX2__
  set = "avx2";
#endif
#ifdef __AVX512F__
  set = "avx512f";
#endif
#ifdef __ARM_NEON
  set = "neon";
#endif
  return set;
}

}  // namespace

Json environment() {
  double load[3] = {};
  const int loads = getloadavg(load, 3);
  utsname system{};
  uname(&system);
  return {{"cpu", cpu_model()},
          {"cores", std::thread::hardware_concurrency()},
          {"threads", thread_count()},
          {"system", cat(system.sysname, " ", system.release)},
          {"compiler", compiler()},
          {"instruction_set", instruction_set()},
          {"libraries", {{"onednn", ops::onednn_version()}, {"opencv", CV_VERSION}}},
          {"git_revision", *SWITCHYARD_REVISION ? Json(SWITCHYARD_REVISION) : Json()},
          {"load_average", loads > 0 ? Json(load[0]) : Json()}};
}

double peak_memory() {
  std::ifstream in("/proc/self/status");
  for (std::string line; std::getline(in, line);) {
    if (line.rfind("VmHWM:", 0) == 0) return 1024 * std::stod(line.substr(6));  // "VmHWM:   12345 kB"
  }
  return std::nan("");
}

std::string utc_now() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  gmtime_r(&now, &parts);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text;
}

}  // namespace swy::bench
