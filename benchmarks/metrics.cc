#include "benchmarks/metrics.h"

#include "benchmarks/analysis/analyse.h"
#include "core/base/error.h"

namespace swy::bench {

const std::vector<MetricInfo>& metric_table() {
  static const std::vector<MetricInfo> measured = {
      {"test_accuracy", "1", true, false, "share of test images whose largest logit is the label's"},
      {"test_loss", "nat", false, false, "mean cross-entropy on the test set, no smoothing"},
      {"bits_per_byte", "bit", false, false,
       "text: evaluation loss per byte of the text, nats per token * tokens / bytes / ln 2"},
      {"bits_per_character", "bit", false, false, "the same per character"},
      {"word_perplexity", "1", false, false, "text: exp(nats per token * tokens / words); with <unk> as a word"},
      {"token_loss", "nat", false, false, "text: mean cross-entropy of a token of the evaluated split"},
      {"excess_loss", "nat", false, false,
       "planted text: token_loss over the best that is possible with the windows' context"},
      {"next_token_accuracy", "1", true, false, "text: share of tokens that were the most likely one"},
      {"calibration_error", "1", false, false,
       "expected calibration error of the most likely class or token, 15 bins of equal width"},
      {"train_loss", "nat", false, false,
       "mean cross-entropy (smoothed) of the steps since the last point of the curve"},
      {"max_violation", "1", false, false,
       "busiest expert's load over the mean load, minus 1; evaluation data, mean over sites"},
      {"dropped_share", "1", false, false,
       "share of offered (token, expert) pairs that found no slot; evaluation data, mean over sites"},
      {"unrouted_share", "1", false, false, "share of tokens that no expert took; evaluation data, mean over sites"},
      {"capacity_factor", "1", {}, false, "realised slots per token over the whole of training, mean over sites"},
      {"experts_per_token",
       "1",
       {},
       false,
       "slots per token that were filled over the whole of training, mean over sites"},
      {"max_violation_forward", "1", false, false,
       "the same of every evaluation batch by itself, then averaged (MaxVio batch of Wang et al. 2024)"},
      {"violation_floor",
       "1",
       {},
       false,
       "sqrt(2 E ln E / (N k)): max_violation of uniform random routing by the asymptotic formula, which is 20 to 50 % "
       "too much; a max_violation of no more than this says nothing"},
      {"violation_chance",
       "1",
       {},
       false,
       "the same without the formula's excess; within 5 % from 50 tokens per expert, too small with fewer"},
      {"min_violation", "1", false, false, "1 minus the idlest expert's load over the mean load; 1 = a dead expert"},
      {"mean_violation", "1", false, false, "mean of |load over mean load - 1| over experts"},
      {"load_cv", "1", false, false, "standard deviation of the loads over their mean"},
      {"load_gini", "1", false, false, "Gini coefficient of the loads: 0 = equal, 1 - 1/E = one expert has all"},
      {"load_min_max_ratio", "1", true, false, "the idlest expert's load over the busiest one's"},
      {"load_entropy_share", "1", true, false, "entropy of the loads' shares over log E; 1 = equal"},
      {"load_perplexity_share", "1", true, false, "exp(entropy of the shares) / E: share of experts as good as used"},
      {"load_top_share", "1", false, false, "share of all kept pairs on the busiest fifth of the experts"},
      {"load_bottom_share", "1", true, false, "share of all kept pairs on the idlest fifth of the experts"},
      {"dead_experts", "1", false, false,
       "experts without a token in the whole evaluation (a site's \"tokens\" says how long that is), mean over sites"},
      {"slot_utilisation", "1", true, false,
       "kept pairs over the slots that were there; small where nothing is dropped"},
      {"forward_flops_per_image", "FLOP", {}, false, "activated compute of one test image: model, experts and router"},
      {"train_flops_per_image", "FLOP", {}, false, "compute of one training image: forward, backward and update"},
      {"forward_flops_per_token",
       "FLOP",
       {},
       false,
       "text: activated compute of one evaluated token: model, experts and router"},
      {"train_flops_per_token", "FLOP", {}, false, "text: compute of one training token: forward, backward and update"},
      {"parameters", "1", {}, false, "trained parameters of model, experts and router"},
      {"routing_information", "nat", true, false,
       "mutual information of planted cluster and expert at the first routed layer"},
      {"routing_information_shuffled", "nat", {}, false, "the same with the clusters shuffled: what chance gives"},
      {"planted_entropy",
       "nat",
       {},
       false,
       "entropy of the planted clusters: the most that routing_information can be"},
      {"train_images_per_second", "1/s", true, true,
       "training images over the time of all steps, data loading included"},
      {"test_images_per_second", "1/s", true, true, "test images over the time of their forward passes"},
      {"train_tokens_per_second", "1/s", true, true, "training tokens over the time of all steps, data included"},
      {"test_tokens_per_second", "1/s", true, true, "evaluated tokens over the time of their forward passes"},
      {"train_flops_per_second", "FLOP/s", true, true, "FLOPs of a mean step over the median step time"},
      {"gemm_flops_per_second", "FLOP/s", true, true,
       "median rate of a dense product between the steps: 1024^3 on the same threads, or a larger one on the device"},
      {"gemm_share", "1", true, true, "train_flops_per_second over gemm_flops_per_second"},
      {"peak_memory", "B", false, true, "largest resident set of the cell's process"},
      {"wall_time", "s", false, true, "the whole cell: data, training, evaluation"},
      {"robustness_time", "s", false, true, "all conditions of --robustness"},
  };
  static const std::vector<MetricInfo> table = [] {  // those of --analysis after the others
    std::vector<MetricInfo> all = measured;
    for (const AnalysisFigure& f : analysis_table()) all.push_back({f.name, f.unit, f.higher_is_better, false, f.doc});
    return all;
  }();
  return table;
}

Json metric_json(const std::string& name, double value) {
  for (const MetricInfo& m : metric_table()) {
    if (name != m.name) continue;
    return {{"name", name},
            {"value", value},
            {"unit", m.unit},
            {"higher_is_better", m.higher_is_better ? Json(*m.higher_is_better) : Json()}};
  }
  environment_error("the metric '", name, "' is missing from the table in benchmarks/metrics.cc");
}

Json metric_json(const std::string& name, double value, const std::vector<double>& samples) {
  Json j = metric_json(name, value);
  j["samples"] = samples;
  return j;
}

}  // namespace swy::bench
