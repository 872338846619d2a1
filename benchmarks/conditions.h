// The conditions under which a trained model is looked at again. A condition changes one thing: the data, what the
// router sees, which experts are there, how much room they have, or which router decides. The name, severity and value
// of each stand in the record with its raw results; scores are made of those later (reports/robustness.h).
//
//   clean       the data as it is, over the same images or tokens: what all others are compared with
//   corruption  images: 15 corruptions x 5 severities (quick: 4 of them at severity 3)
//   noise       text: every noise at each of its rates (quick: 4 of them at their middle rate)
//   attack      images: FGSM and PGD in the L-infinity ball of 1/255 and 2/255 (quick: FGSM, 2/255)
//   shift       other data sets of the same form, where the suite names some
//   order       the same data with images or windows reversed or shuffled: what company does to a token
//   states      Gaussian noise on what routers see, by its size relative to the token's norm (value)
//   lost        value experts of every site gone: the most used, the least used, random ones; rerouted, or residual
//   capacity    value times the slots per token that the plan fills, in evaluation alone
//   early       the router of a quarter of training decides in the trained model
#pragma once
#include <string>
#include <vector>

#include "benchmarks/stress.h"
#include "benchmarks/suite.h"

namespace swy::bench {

struct Condition {
  std::string group, name;
  int severity = 0;  // 1 to 5; 0: has none
  double value = 0;  // as the group says; 0: has none
  Stress stress = {};
};

// `known` are the stresses of corruption or noise that apply to the workload's data, by name and severity. Conditions
// inside routed sites only where `experts` (of each site) is above 1. Throws Error (usage) for a name in
// robustness.only that is not among the known, with the nearest.
std::vector<Condition> conditions(const Robustness&, const std::string& kind, const std::vector<Stress>& known,
                                  int32_t experts);

}  // namespace swy::bench
