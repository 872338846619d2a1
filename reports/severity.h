// The figure of robustness: the mean score of each router against the severity of corruptions or noises, clean at 0,
// from records that hold results under stress (`run --robustness`).
#pragma once
#include <string>
#include <vector>

#include "core/base/json.h"

namespace swy::report {

// One SVG document, tasks below one another; empty when no record holds results under stress. Accuracy in % for images,
// growth of loss in % for text (severity_curve, reports/robustness.h), mean over seeds with 95 % Student-t intervals as
// whiskers. A task whose corruptions share no severity says so instead of showing axes.
std::string severity_svg(const std::vector<Json>& records);

}  // namespace swy::report
