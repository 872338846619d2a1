// The "analysis" of a record (`--analysis`): every figure of this folder over one traced evaluation.
//
//   {"tokens": N,                               tokens traced
//    "figures": [{"name", "label", "unit", "higher_is_better", "value", "by_site": [...]}, ...],
//    "sites": [{"name", "experts", "coactivation": [[...]], "shares": {"class": [[...]]}}, ...],
//    "stability": [{"progress", "fluctuation": [by site], "saturation": [by site], "floor": [by site]}, ...],
//    "text_routing": {...}}                     of the fixed text at the end (benchmarks/analysis/agreement.h)
//
// Names, units and meanings stand in analysis_table(). A figure about labels appears once for each column of the trace
// ("label"; null for the others). "value" is the mean over the sites that have one. null: undefined there (a top-1
// router has no margin, a soft router no choices). Matrices are written while they have at most kMatrixEntries.
#pragma once
#include <optional>
#include <vector>

#include "benchmarks/analysis/collapse.h"
#include "benchmarks/analysis/drop_top.h"
#include "benchmarks/analysis/stability.h"
#include "benchmarks/analysis/trace.h"
#include "core/base/json.h"

namespace swy::bench {

struct AnalysisFigure {
  const char *name, *unit;
  std::optional<bool> higher_is_better;  // empty: neither
  const char* doc;                       // meaning, range, what to beware of, source
};
const std::vector<AnalysisFigure>& analysis_table();

constexpr int64_t kMatrixEntries = 1024;
constexpr int64_t kFewestHits = 10;  // tokens a label needs to count in specialisation, as in OLMoE

struct AnalysisInput {
  const RoutingTrace& trace;
  const FixedText* text = nullptr;      // null: no figures of stability
  std::vector<ExpertProbe> experts;     // by site; empty: no figures of experts
  uint64_t seed = 0;                    // of the shuffles
  std::vector<DropTopLoss> drops = {};  // by site; empty: not measured
};
Json analyse(const AnalysisInput&);

}  // namespace swy::bench
