// One error type for the whole host side. A message says what is wrong, where, and what to do.
// The kind is also the exit code of the command line: 1 a failure that was asked about, 2 wrong use,
// 3 the environment (missing file, full disk, broken plugin).
#pragma once
#include <sstream>
#include <stdexcept>
#include <string>

namespace swy {

enum class Kind { kFailure = 1, kUsage = 2, kEnvironment = 3 };

class Error : public std::runtime_error {
 public:
  Error(Kind k, const std::string& message) : std::runtime_error(message), kind(k) {}
  const Kind kind;
};

// The arguments written one after the other: cat("k = ", 3) is "k = 3".
template <class... Args>
std::string cat(const Args&... args) {
  std::ostringstream out;
  (out << ... << args);
  return out.str();
}

template <class... Args>
[[noreturn]] void fail(Kind kind, const Args&... args) {
  throw Error(kind, cat(args...));
}
template <class... Args>
[[noreturn]] void usage_error(const Args&... args) {
  fail(Kind::kUsage, args...);
}
template <class... Args>
[[noreturn]] void environment_error(const Args&... args) {
  fail(Kind::kEnvironment, args...);
}

}  // namespace swy
