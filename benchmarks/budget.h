// The one place that says stop. A run has a budget of training FLOPs (forward, backward and update of model, experts
// and router, as counted by the ops; evaluation is free), or of training units (images, tokens) for comparisons at the
// same data seen. A step is not begun when the cost of the last one says that it would overspend, so runs of different
// routers end with the same compute to within one step.
#pragma once
#include <algorithm>

namespace swy::bench {

class Budget {
 public:
  explicit Budget(double asked) : asked_(asked) {}

  bool allows_next() const { return spent_ + last_ <= asked_; }
  // `total`: cost of all steps so far.
  void spend_to(double total) {
    last_ = total - spent_;
    spent_ = total;
  }
  void restore(double spent, double last) {
    spent_ = spent;
    last_ = last;
  }
  double progress() const { return std::min(1.0, spent_ / asked_); }  // in [0, 1]; drives the learning rate
  double asked() const { return asked_; }
  double spent() const { return spent_; }
  double last() const { return last_; }

 private:
  double asked_, spent_ = 0, last_ = 0;
};

}  // namespace swy::bench
