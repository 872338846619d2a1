// The figure that compares routers at equal compute: a task's headline metric against the training FLOPs that had been
// spent when it was measured, what a unit of training cost at that time (a dense phase is a step up), and beside them
// one row per router with its final value and where its training FLOPs went. All FLOPs are counted ones, of model,
// experts and router.
#pragma once
#include <string>
#include <vector>

#include "core/base/json.h"
#include "reports/by_task.h"

namespace swy::report {

// The learning curve of one router, mean over the seeds that ended well. The i-th points of the seeds belong together;
// when a seed has more points than another, its last one is paired with the other's last one and what is in between is
// left out.
struct ComputeCurve {
  struct Moment {
    double flops;        // spent so far
    double value, half;  // of the headline, scaled as shown; half of the 95 % Student-t interval, NaN with one seed
    double cost;         // training FLOPs of an image or token since the moment before
  };
  std::vector<Moment> moments;  // by flops; empty: no seed has a point with this metric
};
ComputeCurve compute_curve(const RouterRecords&, const TaskRecords&);

// One SVG document, tasks below one another. A task without any curve says so instead of showing axes.
std::string equal_compute_svg(const std::vector<Json>& records);

}  // namespace swy::report
