#include "benchmarks/progress.h"

#include <cmath>

#include "core/base/error.h"

namespace swy::bench {

std::string duration_text(double seconds) {
  const int64_t s = std::llround(std::max(0.0, seconds));
  char text[32];
  if (s < 3600) {
    std::snprintf(text, sizeof text, "%d:%02d", static_cast<int>(s / 60), static_cast<int>(s % 60));
  } else {
    std::snprintf(text, sizeof text, "%d:%02d:%02d", static_cast<int>(s / 3600), static_cast<int>(s / 60 % 60),
                  static_cast<int>(s % 60));
  }
  return text;
}

double ProgressBoard::left_s() const {
  double done = finished_;
  for (const auto& [cell, running] : running_) done += running.share;
  return done > 0 ? watch_.seconds() * (cells_ - done) / done : 0;
}

void ProgressBoard::clear_line() {
  if (terminal_) std::fputs("\r\033[K", stream_);
}

void ProgressBoard::start(int cell, const std::string& name) {
  const std::lock_guard lock(mutex_);
  running_[cell] = {name, 0, watch_.seconds()};
  if (!terminal_) return;
  clear_line();
  std::fprintf(stream_, "[%d/%d] %s: starting", cell, cells_, name.c_str());
  std::fflush(stream_);
}

void ProgressBoard::update(int cell, const Progress& p) {
  const std::lock_guard lock(mutex_);
  Running& running = running_[cell];
  running.share = p.share;
  constexpr double kPlainEvery = 30;  // seconds: a log stays readable and still shows life
  if (!terminal_ && watch_.seconds() - running.printed_s < kPlainEvery) return;
  running.printed_s = watch_.seconds();
  clear_line();
  std::string doing = p.doing;
  if (doing.empty()) {
    char text[96];
    std::snprintf(text, sizeof text, "%3.0f %%, %.0f %ss/s, loss %.4f", 100 * p.share, p.units_per_s, p.unit.c_str(),
                  p.loss);
    doing = text;
  }
  std::fprintf(stream_, "[%d/%d] %s: %s, %s left, all %s left%s", cell, cells_, running.name.c_str(), doing.c_str(),
               duration_text(p.left_s).c_str(), duration_text(left_s()).c_str(), terminal_ ? "" : "\n");
  std::fflush(stream_);
}

void ProgressBoard::finish(int cell, const std::string& outcome) {
  const std::lock_guard lock(mutex_);
  const std::string name = running_[cell].name;
  running_.erase(cell);
  ++finished_;
  clear_line();
  std::fprintf(stream_, "[%d/%d] %s: %s%s\n", cell, cells_, name.c_str(), outcome.c_str(),
               finished_ < cells_ ? cat(", all ", duration_text(left_s()), " left").c_str() : "");
  std::fflush(stream_);
}

}  // namespace swy::bench
