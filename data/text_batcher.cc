#include "data/text_batcher.h"

#include <algorithm>
#include <array>
#include <numeric>

#include "core/base/error.h"
#include "core/base/philox.h"
#include "core/base/seed.h"

namespace swy::data {
namespace {

int64_t size_of(const TextSplit& split) { return static_cast<int64_t>(split.token.size()); }

void check_cluster(const TextSplit& split, const int32_t* cluster) {
  if (cluster && split.cluster.empty()) usage_error("clusters of a text batch: only of a planted data set");
}

}  // namespace

TextBatcher::TextBatcher(const TextDataset& set, const TextBatcherOptions& options) : set_(set), options_(options) {
  if (options.batch < 1) usage_error("batch size ", options.batch, " must be at least 1");
  if (options.context < 1) usage_error("context ", options.context, " must be at least 1 token");
  const int64_t tokens = size_of(set.train), context = options.context;
  if (tokens < context + 1) {
    usage_error("the train split of '", set.id, "' has ", tokens, " tokens; a context of ", context,
                " needs one more than that: take a shorter context or a higher train_limit");
  }
  // Fewer than fit when the epoch starts at 0, so that every start below one window leaves room for the same number.
  windows_ = std::max<int64_t>((tokens - context) / context, 1);
  if (!options.random_windows) permutation_.resize(static_cast<size_t>(windows_));
}

void TextBatcher::shuffle(int64_t epoch) {
  const int64_t context = options_.context, room = size_of(set_.train) - 1 - windows_ * context;
  std::iota(permutation_.begin(), permutation_.end(), 0);
  Random random(child_seed(purpose_seed(options_.run_seed, Purpose::kDataOrder), static_cast<uint64_t>(epoch)));
  start_ = random.below(static_cast<uint32_t>(std::min(room, context - 1)) + 1);
  for (size_t i = permutation_.size(); i > 1; --i) {
    std::swap(permutation_[i - 1], permutation_[random.below(static_cast<uint32_t>(i))]);
  }
  epoch_ = epoch;
}

int64_t TextBatcher::train_start(int64_t index, int64_t row) {
  const int64_t position = index * options_.batch + row;
  if (options_.random_windows) {
    const uint64_t key = purpose_seed(options_.run_seed, Purpose::kDataOrder);
    const std::array<uint32_t, 4> words = philox(key, 0, static_cast<uint64_t>(position));
    const uint64_t starts = static_cast<uint64_t>(size_of(set_.train) - options_.context);
    // Multiply-shift of 64 random bits: with 32 of them, single positions of a long text would be 2 % off.
    return static_cast<int64_t>((words[0] * starts + (words[1] * starts >> 32)) >> 32);
  }
  if (position / windows_ != epoch_) shuffle(position / windows_);
  return start_ + permutation_[position % windows_] * options_.context;
}

void TextBatcher::train_batch(int64_t index, int32_t* token, int32_t* target, int32_t* cluster) {
  check_cluster(set_.train, cluster);
  const int64_t context = options_.context;
  for (int64_t i = 0; i < options_.batch; ++i) {
    const int64_t start = train_start(index, i);
    std::copy_n(set_.train.token.data() + start, context, token + i * context);
    std::copy_n(set_.train.token.data() + start + 1, context, target + i * context);
    if (cluster) std::copy_n(set_.train.cluster.data() + start, context, cluster + i * context);
  }
}

int64_t TextBatcher::eval_batches(const TextSplit& split, int64_t stride) const {
  const int64_t context = options_.context;
  if (stride < 1 || stride > context) {
    usage_error("evaluation stride ", stride, " must be in [1, ", context, "], the context");
  }
  const int64_t targets = size_of(split) - 1;
  if (targets < 1) return 0;
  const int64_t windows = 1 + (std::max<int64_t>(targets - context, 0) + stride - 1) / stride;
  return (windows + options_.batch - 1) / options_.batch;
}

int64_t TextBatcher::eval_batch(const TextSplit& split, int64_t stride, int64_t index, int32_t* token, int32_t* target,
                                int32_t* cluster) const {
  check_cluster(split, cluster);
  if (index < 0 || index >= eval_batches(split, stride)) return 0;
  const int64_t context = options_.context, targets = size_of(split) - 1;
  int64_t filled = 0;
  for (; filled < options_.batch; ++filled) {
    const int64_t start = (index * options_.batch + filled) * stride;
    const int64_t scored = start == 0 ? 0 : start + context - stride;  // the first position whose target counts here
    if (scored >= targets) break;
    window(split, start, scored, targets, token + filled * context, target + filled * context,
           cluster ? cluster + filled * context : nullptr);
  }
  return filled;
}

void TextBatcher::window(const TextSplit& split, int64_t start, int64_t from, int64_t to, int32_t* token,
                         int32_t* target, int32_t* cluster) const {
  const int64_t context = options_.context, length = std::min(context, size_of(split) - 1 - start);
  std::copy_n(split.token.data() + start, length, token);
  std::fill(token + length, token + context, 0);
  for (int64_t i = 0; i < context; ++i)
    target[i] = i < length && start + i >= from && start + i < to ? split.token[start + i + 1] : -1;
  if (!cluster) return;
  std::copy_n(split.cluster.data() + start, length, cluster);
  std::fill(cluster + length, cluster + context, 0);
}

}  // namespace swy::data
