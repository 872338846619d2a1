#include "benchmarks/evaluate.h"

#include "benchmarks/timing.h"
#include "core/base/seed.h"
#include "core/ops/loss.h"

namespace swy::bench {

Evaluator::Evaluator(model::Vit& vit, const data::ImageDataset& set, int64_t batch, uint64_t run_seed)
    : vit_(vit),
      set_(set),
      batcher_(set, {batch, run_seed, 0, false}),
      seed_(purpose_seed(run_seed, Purpose::kEvaluate)),
      images_(static_cast<size_t>(batch * set.image_size())),
      loss_(static_cast<size_t>(batch)),
      labels_(static_cast<size_t>(batch)),
      planted_(static_cast<size_t>(batch * set.planted_patches())) {}

Evaluation Evaluator::run(bool planted, int64_t most) {
  Evaluation result;
  const Exec exec{&result.tally};
  const std::vector<moe::Site*>& sites = vit_.sites();
  for (moe::Site* site : sites) site->load().reset();
  // Planted clusters are per patch: they are tokens only when the model cuts the image the same way.
  const bool informed =
      planted && !sites.empty() && set_.planted_clusters > 0 && set_.planted_patch == vit_.config().patch;
  if (informed) result.information.emplace(set_.planted_clusters, sites[0]->spec().experts);

  int64_t right = 0;
  for (int64_t b = 0; b < batcher_.test_batches() && (most == 0 || result.images < most); ++b) {
    const int64_t n = batcher_.test_batch(b, images_.data(), labels_.data(), informed ? planted_.data() : nullptr);
    const moe::StepInfo info{SWY_SCORE, b, seed_};
    const Stopwatch watch;
    vit_.forward(exec, info, images_.data(), static_cast<int32_t>(n));
    result.seconds += watch.seconds();
    Tally uncharged;
    right += ops::cross_entropy(Exec{&uncharged}, n, set_.classes, 0, vit_.logits(), labels_.data(), 1, loss_.data(),
                                nullptr);
    for (int64_t i = 0; i < n; ++i) result.loss += static_cast<double>(loss_[static_cast<size_t>(i)]);
    result.images += n;
    if (informed) {
      const moe::Site::Kept kept = sites[0]->kept();
      for (int64_t i = 0; i < kept.count; ++i)
        result.information->add(planted_[static_cast<size_t>(kept.token[i])], kept.expert[i]);
    }
  }
  result.loss /= static_cast<double>(result.images);
  result.accuracy = static_cast<double>(right) / static_cast<double>(result.images);
  for (moe::Site* site : sites) {
    result.load.push_back(site->load());
    site->load().reset();
  }
  return result;
}

}  // namespace swy::bench
