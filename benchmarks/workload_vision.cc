// Image classification with a ViT: the unit is an image, a row of the evaluation is an image, tokens are its patches.
#include "benchmarks/workload_vision.h"

#include <algorithm>
#include <cmath>

#include "benchmarks/attack.h"
#include "benchmarks/evaluate.h"
#include "benchmarks/model_json.h"
#include "benchmarks/timing.h"
#include "benchmarks/workload.h"
#include "core/base/error.h"
#include "core/base/philox.h"
#include "core/base/seed.h"
#include "core/base/suggest.h"
#include "core/device/move.h"
#include "core/ops/loss.h"
#include "data/batcher.h"
#include "data/corrupt/source.h"
#include "data/npy.h"

namespace swy::bench {
namespace {

data::DatasetOptions dataset_options(const Task& task) {
  data::DatasetOptions o;
  take(task.options, "train_limit", o.train_limit);
  take(task.options, "test_limit", o.test_limit);
  take(task.options, "coarse_labels", o.coarse_labels);
  take(task.options, "resize_height", o.resize_height);
  take(task.options, "resize_width", o.resize_width);
  const Json planted = task.options.value("planted", Json::object());
  take(planted, "seed", o.planted.seed);
  take(planted, "image", o.planted.image);
  take(planted, "patch", o.planted.patch);
  take(planted, "clusters", o.planted.clusters);
  take(planted, "classes", o.planted.classes);
  take(planted, "train", o.planted.train);
  take(planted, "test", o.planted.test);
  return o;
}

data::BatcherOptions batcher_options(const Suite& suite) {
  data::BatcherOptions o;
  o.batch = suite.batch;
  o.run_seed = static_cast<uint64_t>(suite.seeds.at(0));
  take(suite.tasks.at(0).augment, "crop", o.crop_padding);
  take(suite.tasks.at(0).augment, "flip", o.flip);
  return o;
}

bool is_npy(const std::string& id) { return id.rfind("npy:", 0) == 0; }
bool is_shifted(const std::string& id) {
  return std::find(data::shifted_ids().begin(), data::shifted_ids().end(), id) != data::shifted_ids().end();
}

class VisionWorkload : public Workload {
 public:
  VisionWorkload(const Suite& suite, std::shared_ptr<const data::ImageDataset> data,
                 const std::filesystem::path& data_dir)
      : data_(std::move(data)),
        set_(*data_),
        data_dir_(data_dir),
        place_(suite.device, suite.precision),
        config_(vit_config(suite.routers.at(0), set_)),
        router_(make_router_instance(suite, config_.routed_layers.size())),
        smoothing_(suite.label_smoothing),
        batch_(suite.batch),
        train_batcher_(set_, batcher_options(suite)),
        test_batcher_(set_, {suite.evaluation_batch, static_cast<uint64_t>(suite.seeds.at(0)), 0, false}),
        vit_(config_, router_.get(), std::max(suite.batch, suite.evaluation_batch),
             purpose_seed(static_cast<uint64_t>(suite.seeds.at(0)), Purpose::kModelInit), place_.device()) {
    const int64_t most = std::max(suite.batch, suite.evaluation_batch);
    const auto floats = [&](int64_t n) { return Mirror<float>(place_.device(), n); };
    for (Batch& b : batches_) {
      b.images = floats(most * set_.image_size());
      b.labels = Mirror<int32_t>(place_.device(), most);
      if (!place_.on_device()) break;  // one is enough where nothing runs ahead
    }
    dlogits_ = floats(most * set_.classes), logits_ = floats(most * set_.classes), loss_ = floats(most);
    confidence_.resize(static_cast<size_t>(most));
    predicted_.resize(static_cast<size_t>(most));
    if (planted_clusters() > 0) cluster_.resize(static_cast<size_t>(most * set_.planted_patches()));
  }

  Json describe() const override {
    return {{"dataset", set_.id},
            {"sha256", set_.sha256},
            {"train_images", set_.train.count},
            {"test_images", set_.test.count}};
  }
  int64_t step_units() const override { return batch_; }
  // Planted clusters are per patch: they are tokens only when the model cuts the image the same way.
  int planted_clusters() const override { return set_.planted_patch == config_.patch ? set_.planted_clusters : 0; }
  Params& params() override { return vit_.params(); }
  const std::vector<moe::Site*>& sites() const override { return vit_.sites(); }

  const Place& place() const override { return place_; }

  void prepare(int64_t step) override {
    Batch& b = batch_of(step);
    if (b.step == step) return;
    train_batcher_.train_batch(step, b.images.host(), b.labels.host());
    b.step = step;
  }
  void load(const Exec& ex, int64_t step) override {
    prepare(step);
    Batch& b = batch_of(step);
    // Always the first one's twin: where a recorded step looks.
    if (ex.stream) {
      copy(ex, batch_ * set_.image_size(), b.images.host(), batches_[0].images.there());
      copy(ex, batch_, b.labels.host(), batches_[0].labels.there());
    }
  }
  void train(const Exec& ex, const moe::StepInfo& info) override {
    Batch& b = batches_[0];
    vit_.forward(ex, info, b.images.there(), static_cast<int32_t>(batch_));
    {
      const Charge charge(*ex.tally, Part::kModel, Pass::kBackward);
      ops::cross_entropy(ex, batch_, config_.classes, smoothing_, vit_.logits(), b.labels.there(),
                         1.0f / static_cast<float>(batch_), loss_.there(), dlogits_.there());
    }
    vit_.backward(ex, info, dlogits_.there());
  }
  double loss(const Exec& ex) override {
    loss_.fetch(ex, batch_);
    place_.wait();
    double sum = 0;
    for (int64_t i = 0; i < batch_; ++i) sum += static_cast<double>(loss_.host()[i]);
    return sum / static_cast<double>(batch_);
  }
  void update(const Exec& ex, const moe::StepInfo& info) override { vit_.update(ex, info); }

  std::string show(const Stress& stress, int64_t most) override {
    unshow();
    shown_.emplace();
    shown_->images = most > 0 ? std::min(most, set_.test.count) : set_.test.count;
    switch (stress.kind) {
      case Stress::Kind::kNone: break;
      case Stress::Kind::kCorruption: {
        const data::Corruption& corruption = data::find_corruption(stress.name);
        const std::filesystem::path published = data::find_published(set_, data_dir_);
        if (published.empty())
          shown_->corrupted.emplace(set_, corruption, stress.severity);
        else
          shown_->corrupted.emplace(set_, corruption, stress.severity, published);
        break;
      }
      case Stress::Kind::kAttack: shown_->attack.emplace(stress, set_, kStressSeed); break;
      case Stress::Kind::kOrder: shown_->order = reordered(stress.name, shown_->images, kStressSeed); break;
      case Stress::Kind::kShift: shown_->shifted = load_shifted(stress.name, shown_->images); break;
      case Stress::Kind::kNoise: usage_error("noise '", stress.name, "' is one of text; images have corruptions");
    }
    return {};
  }
  void unshow() override { shown_.reset(); }
  std::vector<Stress> stresses(Stress::Kind kind) const override {
    std::vector<Stress> all;
    if (kind == Stress::Kind::kCorruption && set_.channels == 3)
      for (const data::Corruption& c : data::corruptions())
        for (int s = 1; s <= data::kSeverities; ++s) all.push_back({kind, c.name, s, 0, 0});
    return all;
  }
  std::unique_ptr<Workload> again(const Suite& cell) const override {
    return std::make_unique<VisionWorkload>(cell, data_, data_dir_);
  }
  int64_t score_batches() const override {
    return shown_ ? (shown_->images + test_batcher_.batch_size() - 1) / test_batcher_.batch_size()
                  : test_batcher_.test_batches();
  }
  Scored score(const Exec& ex, const moe::StepInfo& info, int64_t batch) override {
    int32_t* cluster = cluster_.empty() || shown_ ? nullptr : cluster_.data();
    Batch& b = batches_[0];
    b.step = -1;
    const int64_t n =
        shown_ ? show_batch(info, batch) : test_batcher_.test_batch(batch, b.images.host(), b.labels.host(), cluster);
    Scored s;
    b.images.send(ex, n * set_.image_size()), b.labels.send(ex, n);
    place_.wait();
    const Stopwatch watch;
    vit_.forward(ex, info, b.images.there(), static_cast<int32_t>(n));
    place_.wait();
    s.seconds = watch.seconds();
    Tally uncharged;  // the loss is no part of what the model costs in use
    ops::cross_entropy(place_.exec(uncharged), n, config_.classes, 0, vit_.logits(), b.labels.there(), 1, loss_.there(),
                       nullptr);
    loss_.fetch(ex, n);
    judge(ex, n);
    s.rows = s.units = s.sequences = n;
    s.tokens = config_.tokens();
    s.loss = loss_.host();
    s.target = b.labels.host();
    s.predicted = predicted_.data();
    s.confidence = confidence_.data();
    s.cluster = cluster;
    if (shown_) s.place = shown_->place.data();
    return s;
  }
  std::vector<NamedValue> results(const Evaluation& e) const override {
    return {{"test_accuracy", e.accuracy}, {"test_loss", e.loss}, {"calibration_error", e.calibration.error()}};
  }

 private:
  struct Batch {
    Mirror<float> images;
    Mirror<int32_t> labels;
    int64_t step = -1;  // of training, which this is the batch of
  };
  Batch& batch_of(int64_t step) { return batches_[place_.on_device() ? step % 2 : 0]; }

  // What show() asked for.
  struct Shown {
    int64_t images = 0;
    std::optional<data::CorruptedTest> corrupted;
    std::optional<Attack> attack;
    std::vector<int64_t> order;  // [images]; empty: as they are
    std::optional<data::ImageDataset> shifted;
    std::vector<int64_t> place;  // [B] of the batch
  };

  // Fills images and labels of a batch of what is shown; returns how many.
  int64_t show_batch(const moe::StepInfo& info, int64_t batch) {
    Shown& shown = *shown_;
    const int64_t first = batch * test_batcher_.batch_size(), size = set_.image_size();
    const int64_t n = std::min(test_batcher_.batch_size(), shown.images - first);
    shown.place.clear();
    for (int64_t i = first; i < first + n; ++i)
      shown.place.push_back(shown.shifted ? -1 : shown.order.empty() ? i : shown.order[static_cast<size_t>(i)]);
    float* images = batches_[0].images.host();
    int32_t* labels = batches_[0].labels.host();
    if (shown.corrupted) {
      shown.corrupted->batch(first, first + n, images, labels);
    } else {
      const data::ImageSplit& from = shown.shifted ? shown.shifted->test : set_.test;
      for (int64_t i = 0; i < n; ++i) {
        const int64_t image = shown.shifted ? first + i : shown.place[static_cast<size_t>(i)];
        data::normalise(set_, from.pixels.data() + image * size, images + i * size);
        labels[i] = from.labels[static_cast<size_t>(image)];
      }
    }
    if (shown.attack) attack(info, first, n);
    return n;
  }

  // The attacker knows all: each of its steps is a forward and a backward pass of the model as it is used.
  void attack(const moe::StepInfo& info, int64_t first, int64_t n) {
    Tally uncharged;
    const Exec ex = place_.exec(uncharged);
    Batch& b = batches_[0];
    const int64_t size = n * set_.image_size();
    if (!dimages_) dimages_.emplace(place_.device(), test_batcher_.batch_size() * set_.image_size());
    b.labels.send(ex, n);
    shown_->attack->run(first, n, b.images.host(), [&](const float*, float* dimages) {
      b.images.send(ex, size);
      vit_.forward(ex, info, b.images.there(), static_cast<int32_t>(n));
      ops::cross_entropy(ex, n, config_.classes, 0, vit_.logits(), b.labels.there(), 1, loss_.there(),
                         dlogits_.there());
      vit_.backward(ex, info, dlogits_.there(), dimages_->there());
      vit_.params().zero_grads(ex);
      dimages_->fetch(ex, size);
      place_.wait();
      std::copy_n(dimages_->host(), size, dimages);
    });
    moe::Site::drain(ex, vit_.sites());
  }

  // A known set, or "npy:IMAGES,LABELS": two arrays, as CIFAR-10.1 has them; paths from the data directory.
  data::ImageDataset load_shifted(const std::string& id, int64_t& images) const {
    if (is_shifted(id)) {
      data::ImageDataset known = data::load_shifted(set_, id, data_dir_, 0);
      images = std::min(images, known.test.count);
      return known;
    }
    if (const size_t comma = id.find(','); is_npy(id) && comma != std::string::npos) {
      data::ImageDataset arrays =
          data::load_shifted(set_, id, data_dir_ / id.substr(4, comma - 4), data_dir_ / id.substr(comma + 1), images);
      images = arrays.test.count;
      return arrays;
    }
    data::ImageDataset other = data::load_images(id, data_dir_);
    if (other.channels != set_.channels || other.height != set_.height || other.width != set_.width ||
        other.classes != set_.classes)
      usage_error("data set '", id, "' has ", other.classes, " classes of ", other.channels, " x ", other.height, " x ",
                  other.width, "; a model of '", set_.id, "' can be evaluated on ", set_.classes, " of ", set_.channels,
                  " x ", set_.height, " x ", set_.width);
    images = std::min(images, other.test.count);
    return other;
  }

  // The most likely class of each image (lowest on ties) and its probability.
  void judge(const Exec& ex, int64_t n) {
    const float* logits = vit_.logits();
    if (ex.stream) {
      copy(ex, n * config_.classes, logits, logits_.host());
      place_.wait();
      logits = logits_.host();
    }
    for (int64_t i = 0; i < n; ++i) {
      const float *x = logits + i * config_.classes, *best = std::max_element(x, x + config_.classes);
      double sum = 0;
      for (int32_t c = 0; c < config_.classes; ++c) sum += std::exp(static_cast<double>(x[c] - *best));
      predicted_[static_cast<size_t>(i)] = static_cast<int32_t>(best - x);
      confidence_[static_cast<size_t>(i)] = static_cast<float>(1 / sum);
    }
  }

  std::shared_ptr<const data::ImageDataset> data_;
  const data::ImageDataset& set_;
  std::filesystem::path data_dir_;
  Place place_;
  model::VitConfig config_;
  std::unique_ptr<Instance> router_;
  float smoothing_;
  int64_t batch_;
  data::Batcher train_batcher_, test_batcher_;
  model::Vit vit_;
  Batch batches_[2];                       // the second one: of the next step, while a device has the first
  Mirror<float> dlogits_, logits_, loss_;  // logits_: where a device's are looked at
  std::vector<float> confidence_;
  std::vector<int32_t> predicted_, cluster_;
  std::optional<Shown> shown_;
  std::optional<Mirror<float>> dimages_;  // of an attack
};

data::ImageDataset without_images(const Json& shape) {
  data::ImageDataset set;
  set.id = shape.at("id");
  set.channels = shape.at("channels");
  set.height = shape.at("height");
  set.width = shape.at("width");
  set.classes = shape.at("classes");
  return set;
}

class VisionModality : public Modality {
 public:
  const char* unit() const override { return "image"; }
  const char* group() const override { return "group_images"; }

  void check_dataset(const std::string& id) const override {
    const std::vector<std::string>& known = data::dataset_ids();
    if (id.rfind("image_folder:", 0) != 0 && std::find(known.begin(), known.end(), id) == known.end())
      usage_error("unknown data set '", id, "'", suggestion(id, known), ", image_folder:PATH");
  }
  Json shape(const Task& task, const std::filesystem::path& data_dir) const override {
    const data::ImageDataset set = data::load_images(task.dataset, data_dir, dataset_options(task));
    return {{"id", set.id},
            {"channels", set.channels},
            {"height", set.height},
            {"width", set.width},
            {"classes", set.classes}};
  }
  void check(const Suite& suite, const RouterEntry& router, const Json& shape) const override {
    const model::VitConfig c = vit_config(router, without_images(shape));
    // Forward of the dense projections alone: 2 FLOPs per weight and token, and twice that backward.
    const double weights = 1.0 * c.patch_pixels() * c.width + 4.0 * c.depth * c.width * c.width;
    require_one_step(suite, 6 * weights * c.tokens() * suite.batch, suite.batch);
    for (const std::string& name : suite.robustness.only) {
      data::find_corruption(name);
      data::check_corruptible(1, shape.at("channels"), shape.at("height"), shape.at("width"));
    }
    for (const Stress& attack : suite.robustness.attacks) check_attack(attack);
    for (const std::string& id : suite.robustness.shift) {
      if (!is_npy(id) && !is_shifted(id)) check_dataset(id);
      if (is_npy(id) && id.find(',') == std::string::npos)
        usage_error("robustness.shift '", id, "' names one array; write npy:IMAGES.npy,LABELS.npy");
    }
  }
  std::unique_ptr<Workload> make(const Suite& cell, const std::filesystem::path& data_dir) const override {
    const Task& task = cell.tasks.at(0);
    return std::make_unique<VisionWorkload>(
        cell, std::make_shared<data::ImageDataset>(data::load_images(task.dataset, data_dir, dataset_options(task))),
        data_dir);
  }
  std::unique_ptr<Workload> make_on_noise(const Suite& cell, const Json& shape) const override {
    data::ImageDataset noise = without_images(shape);
    noise.train.count = 64;  // enough for an order to be drawn from; a batch goes round
    Random random(1);
    for (int64_t i = 0; i < noise.train.count; ++i) {
      noise.train.labels.push_back(static_cast<int32_t>(random.below(static_cast<uint32_t>(noise.classes))));
      for (int64_t p = 0; p < noise.image_size(); ++p)
        noise.train.pixels.push_back(static_cast<uint8_t>(random.below(256)));
    }
    data::finish_dataset(noise);
    return std::make_unique<VisionWorkload>(cell, std::make_shared<data::ImageDataset>(std::move(noise)),
                                            std::filesystem::path());
  }
};

}  // namespace

const Modality& vision_modality() {
  static const VisionModality it;
  return it;
}

model::VitConfig vit_config(const RouterEntry& router, const data::ImageDataset& set) {
  const Json& m = router.model;
  model::VitConfig c;
  if (set.height != set.width)
    usage_error("the ViT takes square images; '", set.id, "' has ", set.height, " x ", set.width);
  c.image = set.height;
  c.channels = set.channels;
  c.classes = set.classes;
  take(m, "patch", c.patch);
  take(m, "zero_head", c.zero_head);
  c.site = m.value("site", "ffn") == "block" ? SWY_SITE_BLOCK : SWY_SITE_FFN;
  take(m, "group_images", c.group_sequences);
  take_model(router, c);
  try {
    c.validate();
    for (const moe::CapacityRule& rule : {c.train_capacity, c.eval_capacity}) {
      if (!c.routed_layers.empty()) rule.of(int64_t{c.tokens()} * c.group_sequences, c.experts);
    }
  } catch (const Error& e) {
    throw Error(e.kind, "router '" + router.label + "', data set '" + set.id + "': " + e.what());
  }
  return c;
}

}  // namespace swy::bench
