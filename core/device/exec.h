// Where and how an op runs, and what it has cost so far. Every op takes an Exec first and reports its
// FLOPs and bytes to the tally; nothing else in the project counts compute.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>

namespace swy {

// Who the work is charged to, and in which pass.
enum class Part { kModel, kExperts, kRouter };     // kModel: all that a dense model has too
enum class Pass { kForward, kBackward, kUpdate };  // kUpdate: optimiser and router update

struct Work {
  double flops = 0, bytes = 0;
};

class Tally {
 public:
  void add(double flops, double bytes) {
    Work& w = work_[part_][pass_];
    w.flops += flops;
    w.bytes += bytes;
  }
  void add(const Tally& other) {
    for (size_t part = 0; part < work_.size(); ++part)
      for (size_t pass = 0; pass < work_[part].size(); ++pass) {
        work_[part][pass].flops += other.work_[part][pass].flops;
        work_[part][pass].bytes += other.work_[part][pass].bytes;
      }
  }
  const Work& of(Part part, Pass pass) const { return work_[static_cast<int>(part)][static_cast<int>(pass)]; }
  Work& of(Part part, Pass pass) { return work_[static_cast<int>(part)][static_cast<int>(pass)]; }
  Work total() const {
    Work sum;
    for (const auto& row : work_)
      for (const Work& w : row) sum.flops += w.flops, sum.bytes += w.bytes;
    return sum;
  }

 private:
  friend class Charge;
  std::array<std::array<Work, 3>, 3> work_{};
  int part_ = 0, pass_ = 0;
};

// Charges the work done during its life to (part, pass); restores the previous account at the end.
class Charge {
 public:
  Charge(Tally& tally, Part part, Pass pass) : tally_(tally), part_(tally.part_), pass_(tally.pass_) {
    tally.part_ = static_cast<int>(part);
    tally.pass_ = static_cast<int>(pass);
  }
  Charge(Tally& tally, Part part) : Charge(tally, part, static_cast<Pass>(tally.pass_)) {}
  ~Charge() {
    tally_.part_ = part_;
    tally_.pass_ = pass_;
  }
  Charge(const Charge&) = delete;
  Charge& operator=(const Charge&) = delete;

 private:
  Tally& tally_;
  int part_, pass_;
};

class SiteExperts;  // core/plugin/site_experts.h

class Stream;  // core/device/device.h

// Passed by reference to every op.
struct Exec {
  Tally* tally;                    // never null
  bool dry = false;                // count, touch no memory
  Stream* stream = nullptr;        // null: runs on the CPU; else all tensors lie on its device and work goes there
  SiteExperts* experts = nullptr;  // in calls to a router: the experts that it may run
  const uint64_t* seed_there = nullptr;  // on the stream's device: what `random` takes for the call's seed, if not null
};

}  // namespace swy
