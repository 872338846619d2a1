// Batches of windows of a text set. A training batch is a pure function of (seed, batch index): nothing but the index
// has to be saved to resume.
//
// Training order, one of two:
//   random windows  every row starts at a position drawn uniformly (nanoGPT): tokens repeat and some are never seen,
//   epochs          an epoch cuts the split into disjoint windows from a random start (below one window) on and
//   shuffles
//                   them; epochs are written one after the other and batch i is the windows [i*B, (i+1)*B).
// Evaluation: windows of S tokens advance by `stride`; every token of the split but the first is a target exactly once.
// The first window scores all its targets, a later one only its last `stride`, which have at least S - stride tokens
// of context; with stride = S the windows are disjoint, and the first target of each has one token of context.
#pragma once
#include <cstdint>
#include <vector>

#include "data/text.h"

namespace swy::data {

struct TextBatcherOptions {
  int64_t batch = 32;          // B, sequences
  int64_t context = 128;       // S, tokens of a sequence
  uint64_t run_seed = 0;       // the data order is a child of it
  bool random_windows = true;  // false: epochs of disjoint windows
};

class TextBatcher {
 public:
  // `set` must outlive the batcher. Throws Error (usage) where the train split is shorter than context + 1 tokens.
  TextBatcher(const TextDataset& set, const TextBatcherOptions& options);

  int64_t batch_size() const { return options_.batch; }
  int64_t context() const { return options_.context; }

  // Batch `index` of the training order: token [B, S], target [B, S] the token after each, cluster [B, S] (may be null;
  // planted sets only). Allocates nothing.
  void train_batch(int64_t index, int32_t* token, int32_t* target, int32_t* cluster = nullptr);
  // Where row `row` of batch `index` starts in the train split.
  int64_t train_start(int64_t index, int64_t row);

  // Batches that evaluate a split. REQUIRES: 1 <= stride <= context (else Error, usage).
  int64_t eval_batches(const TextSplit& split, int64_t stride) const;
  // Fills the first rows of token, target and cluster [B, S] and returns how many sequences: B but in the last batch,
  // 0 after it. Targets that are not scored are -1. The last window may be shorter than S: its end is token 0, cluster
  // 0, target -1. Allocates nothing; other threads may call it too.
  int64_t eval_batch(const TextSplit& split, int64_t stride, int64_t index, int32_t* token, int32_t* target,
                     int32_t* cluster = nullptr) const;

  // One window by itself: fills token, target and cluster [S] from split position `start` on. Scored are the targets of
  // the positions [from, to); other targets are -1, and what does not fit before the end of the split as above.
  // REQUIRES: 0 <= start < tokens of the split - 1.
  void window(const TextSplit& split, int64_t start, int64_t from, int64_t to, int32_t* token, int32_t* target,
              int32_t* cluster = nullptr) const;

 private:
  void shuffle(int64_t epoch);

  const TextDataset& set_;
  TextBatcherOptions options_;
  int64_t windows_ = 0;               // of an epoch
  int64_t epoch_ = -1, start_ = 0;    // of permutation_, and where its first window begins
  std::vector<int32_t> permutation_;  // [windows]
};

}  // namespace swy::data
