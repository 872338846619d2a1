// What is trained and how it is judged, apart from everything around it. A Workload is the model of one cell with the
// data of its task; trainer, budget, checkpoints, curve, records and tables know no more than this of images or text.
// A Modality is what can be asked before there is a model: which data sets, what they look like, whether a suite fits.
//
// The unit of a workload is what a training step, the budget and costs are counted in: an image, or a token.
#pragma once
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "benchmarks/place.h"
#include "benchmarks/stress.h"
#include "benchmarks/suite.h"
#include "core/device/exec.h"
#include "core/device/params.h"
#include "core/moe/routed_site.h"

namespace swy::bench {

struct Evaluation;

// One evaluation batch after its forward pass. Rows are the predictions: one per image, or one per token. What is
// pointed at stays valid until the next call of the workload.
struct Scored {
  int64_t rows = 0;
  const float* loss = nullptr;         // [rows] cross-entropy in nats, no smoothing; 0 where the target is -1
  const int32_t* target = nullptr;     // [rows] class or next token; -1: not scored
  const int32_t* predicted = nullptr;  // [rows] the most likely one
  const float* confidence = nullptr;   // [rows] its probability
  int64_t units = 0;                   // images or tokens that went through the model, padding not counted
  double seconds = 0;                  // of the forward pass
  int64_t sequences = 0, tokens = 0;   // of the sites: [sequences, tokens]
  const int32_t* token = nullptr;      // [sequences, tokens] ids; null where tokens have none
  const int32_t* cluster = nullptr;    // [sequences, tokens] planted cluster, -1: padding; null where none is planted
  // After show(): which image, or for text which token of the clean data, each row is about (-1: none). For text also
  // which clean token its target is (-1: another one, or none); null for images, whose target the row always keeps.
  const int64_t* place = nullptr;         // [rows]
  const int64_t* target_place = nullptr;  // [rows]
};

// A value under its name in metrics.cc.
struct NamedValue {
  std::string metric;
  double value;
};

class Workload {
 public:
  virtual ~Workload() = default;

  // ---- what it is ----
  virtual Json describe() const = 0;         // data set, its hash and sizes: the record's "task"
  virtual int64_t step_units() const = 0;    // units of one training step
  virtual int planted_clusters() const = 0;  // that Scored::cluster speaks of; 0: none
  virtual Params& params() = 0;
  virtual const std::vector<moe::Site*>& sites() const = 0;
  virtual const Place& place() const = 0;  // of model and calls: each Exec is one of its

  // ---- training: prepare, load, train, loss; allocates nothing ----
  // The host's part of load() for a step, ahead of it, while a device is busy with the one before.
  virtual void prepare(int64_t step) = 0;
  // Brings the batch of a step to where the model is.
  virtual void load(const Exec&, int64_t step) = 0;
  // Forward, loss and backward of the batch that is there: adds all gradients, those of aux losses too, into params().
  // On a device it is enqueued, and may be recorded and replayed with the next batch.
  virtual void train(const Exec&, const moe::StepInfo&) = 0;
  // Mean loss of a unit in nats, aux losses not included, of the last train(). Waits for a device.
  virtual double loss(const Exec&) = 0;
  virtual void update(const Exec&, const moe::StepInfo&) = 0;  // after the optimiser: routers see their load

  // ---- evaluation ----
  // From now on score() goes over the first `most` images or tokens (0: all) under this stress, text in windows without
  // overlap; unshow() goes back to all of the data as it is. Throws Error (usage) where the stress does not apply.
  // Returns why nothing is changed where the data have no place for it, else an empty text.
  virtual std::string show(const Stress&, int64_t most) = 0;
  virtual void unshow() = 0;
  // The stresses of a kind that apply here, by name: corruptions of colour images, noises that the tokenizer can write.
  virtual std::vector<Stress> stresses(Stress::Kind) const = 0;
  // The same data in another model of the cell: for what is fixed when a model is built.
  virtual std::unique_ptr<Workload> again(const Suite& cell) const = 0;
  virtual int64_t score_batches() const = 0;
  virtual Scored score(const Exec&, const moe::StepInfo&, int64_t batch) = 0;  // no gradient
  // What an evaluation says, for the curve and the record. The first one is the headline: tables rank by it.
  virtual std::vector<NamedValue> results(const Evaluation&) const = 0;
};

class Modality {
 public:
  virtual ~Modality() = default;
  virtual const char* unit() const = 0;   // "image" or "token"
  virtual const char* group() const = 0;  // key of the model for what shares one capacity
  // Throws Error (usage) when there is no such data set, naming the nearest.
  virtual void check_dataset(const std::string& id) const = 0;
  // Reads the data of a task; what a model has to know of it.
  virtual Json shape(const Task&, const std::filesystem::path& data_dir) const = 0;
  // Throws Error (usage) when the router's model cannot be, or the budget does not pay for one step of it.
  virtual void check(const Suite&, const RouterEntry&, const Json& shape) const = 0;
  // The workload of a narrowed suite: one task, one router, one seed. The suite outlives it.
  virtual std::unique_ptr<Workload> make(const Suite& cell, const std::filesystem::path& data_dir) const = 0;
  virtual std::unique_ptr<Workload> make_on_noise(const Suite& cell, const Json& shape) const = 0;
};

// Of a model's kind: "vit" or "lm".
const Modality& modality(const std::string& kind);
const Modality& vision_modality();
const Modality& language_modality();

// ---- for modalities ----
// The cell's router for a model with so many routed places; null for the dense model.
std::unique_ptr<Instance> make_router_instance(const Suite& cell, size_t sites);
// The numbers 0 to n - 1 "reversed" or "shuffled"; throws Error (usage) on another name.
std::vector<int64_t> reordered(const std::string& how, int64_t n, uint64_t seed);
// Of all draws of a stress: every run, router and seed meets the same one.
inline constexpr uint64_t kStressSeed = 1;
// Throws Error (usage) unless the budget pays for one step that takes at least so many FLOPs and so many units.
void require_one_step(const Suite&, double flops, double units);

}  // namespace swy::bench
