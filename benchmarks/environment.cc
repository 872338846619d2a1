#include "benchmarks/environment.h"

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
#include "core/base/resources.h"
#include "core/ops/gemm.h"

namespace swy::bench {
namespace fs = std::filesystem;
namespace {

std::string first_line(const fs::path& path) {
  std::string line;
  std::ifstream in(path);
  std::getline(in, line);
  return line;
}

std::string cpu_model() {
  std::ifstream in("/proc/cpuinfo");
  for (std::string line; std::getline(in, line);) {
    const size_t colon = line.find(": ");
    if (line.rfind("model name", 0) == 0 && colon != std::string::npos) return line.substr(colon + 2);
  }
  return "unknown";
}

// The commit checked out in the nearest repository above the executable (a build tree stands in its source tree).
Json git_revision() {
  for (fs::path at = executable_directory(); at != at.root_path(); at = at.parent_path()) {
    const fs::path git = at / ".git";
    if (!fs::exists(git / "HEAD")) continue;
    const std::string head = first_line(git / "HEAD");
    if (head.rfind("ref: ", 0) != 0) return head;
    const std::string ref = head.substr(5), direct = first_line(git / ref);
    if (!direct.empty()) return direct;
    std::ifstream packed(git / "packed-refs");
    for (std::string line; std::getline(packed, line);) {
      if (line.size() > 41 && line.substr(41) == ref) return line.substr(0, 40);
    }
    return nullptr;
  }
  return nullptr;
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
          {"device", "cpu"},
          {"system", cat(system.sysname, " ", system.release)},
          {"compiler", compiler()},
          {"instruction_set", instruction_set()},
          {"libraries", {{"onednn", ops::onednn_version()}, {"opencv", CV_VERSION}}},
          {"git_revision", git_revision()},
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
