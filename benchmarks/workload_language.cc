// Next-token prediction with a decoder-only transformer: the unit is a token, rows of the evaluation are tokens.
//
// Evaluation goes over one split in windows of `context` tokens that advance by the suite's stride; every token but the
// first is scored once (data/text_batcher.h). Bits per byte or character and word perplexity are taken from the mean
// loss of a token and the tokens and bytes (characters, words) of the whole split, so they do not depend on the
// tokenizer.
#include "benchmarks/workload_language.h"

#include <algorithm>
#include <cmath>

#include "benchmarks/evaluate.h"
#include "benchmarks/model_json.h"
#include "benchmarks/timing.h"
#include "benchmarks/workload.h"
#include "core/base/error.h"
#include "core/base/philox.h"
#include "core/base/seed.h"
#include "core/base/suggest.h"
#include "core/device/move.h"
#include "data/noise/noisy_split.h"
#include "data/text_batcher.h"

namespace swy::bench {
namespace {

data::TextOptions text_options(const Task& task) {
  data::TextOptions o;
  take(task.options, "tokenizer", o.tokenizer);
  take(task.options, "train_limit", o.train_limit);
  take(task.options, "valid_limit", o.valid_limit);
  take(task.options, "test_limit", o.test_limit);
  const Json grammar = task.options.value("grammar", Json::object());
  take(grammar, "seed", o.grammar.seed);
  take(grammar, "clusters", o.grammar.clusters);
  take(grammar, "symbols", o.grammar.symbols);
  take(grammar, "fixed_percent", o.grammar.fixed_percent);
  take(grammar, "noise_percent", o.grammar.noise_percent);
  take(grammar, "train", o.grammar.train);
  take(grammar, "valid", o.grammar.valid);
  take(grammar, "test", o.grammar.test);
  return o;
}

data::TextBatcherOptions batcher_options(const Suite& suite, int64_t batch, int64_t context) {
  return {batch, context, static_cast<uint64_t>(suite.seeds.at(0)), suite.random_windows};
}

class LanguageWorkload : public Workload {
 public:
  LanguageWorkload(const Suite& suite, std::shared_ptr<const data::TextDataset> data,
                   const std::filesystem::path& data_dir)
      : data_(std::move(data)),
        set_(*data_),
        data_dir_(data_dir),
        split_(suite.valid_split ? set_.valid : set_.test),
        split_name_(suite.valid_split ? "valid" : "test"),
        place_(suite.device, suite.precision),
        config_(lm_config(suite.routers.at(0), set_.vocabulary, set_.planted_clusters)),
        stride_(suite.stride > 0 ? suite.stride : config_.context),
        router_(make_router_instance(suite, config_.routed_layers.size())),
        batch_(suite.batch),
        train_batcher_(set_, batcher_options(suite, suite.batch, config_.context)),
        score_batcher_(set_, batcher_options(suite, suite.evaluation_batch, config_.context)),
        lm_(config_, router_.get(), std::max(suite.batch, suite.evaluation_batch),
            purpose_seed(static_cast<uint64_t>(suite.seeds.at(0)), Purpose::kModelInit), place_.device()) {
    const int64_t most = int64_t{std::max(suite.batch, suite.evaluation_batch)} * config_.context;
    const auto integers = [&](int64_t n) { return Mirror<int32_t>(place_.device(), n); };
    for (Batch& b : batches_) {
      b.token = integers(most), b.target = integers(most), b.cluster = integers(planted_clusters() > 0 ? most : 0);
      if (!place_.on_device()) break;  // one is enough where nothing runs ahead
    }
    predicted_ = integers(most), mask_ = Mirror<uint8_t>(place_.device(), most);
    loss_ = Mirror<float>(place_.device(), most), confidence_ = Mirror<float>(place_.device(), most);
  }

  Json describe() const override {
    return {{"dataset", set_.id},
            {"sha256", set_.sha256},
            {"train_tokens", set_.train.token.size()},
            {"test_tokens", split_.token.size()},
            {"tokenizer", set_.tokenizer},
            {"vocabulary", set_.vocabulary},
            {"text_unit", set_.unit},
            {"split", set_.split},
            {"evaluated_split", split_name_},
            {"context", config_.context},
            {"stride", stride_}};
  }
  int64_t step_units() const override { return batch_ * config_.context; }
  int planted_clusters() const override { return set_.planted_clusters; }
  Params& params() override { return lm_.params(); }
  const std::vector<moe::Site*>& sites() const override { return lm_.sites(); }

  const Place& place() const override { return place_; }

  void prepare(int64_t step) override {
    Batch& b = batch_of(step);
    if (b.step == step) return;
    train_batcher_.train_batch(step, b.token.host(), b.target.host(),
                               planted_clusters() > 0 ? b.cluster.host() : nullptr);
    b.step = step;
  }
  void load(const Exec& ex, int64_t step) override {
    prepare(step);
    if (!ex.stream) return;
    Batch &from = batch_of(step), &to = batches_[0];  // always its twin: where a recorded step looks
    copy(ex, step_units(), from.token.host(), to.token.there());
    copy(ex, step_units(), from.target.host(), to.target.there());
    if (planted_clusters() > 0) copy(ex, step_units(), from.cluster.host(), to.cluster.there());
  }
  void train(const Exec& ex, const moe::StepInfo& info) override {
    Batch& b = batches_[0];
    lm_.forward(ex, info, {b.token.there(), static_cast<int32_t>(batch_), config_.context, cluster_there()});
    lm_.score(ex, b.target.there(), static_cast<float>(1 / static_cast<double>(step_units())), loss_.there());
    lm_.backward(ex, info);
  }
  double loss(const Exec& ex) override {
    loss_.fetch(ex, step_units());
    place_.wait();
    double sum = 0;
    for (int64_t i = 0; i < step_units(); ++i) sum += double{loss_.host()[i]};
    return sum / static_cast<double>(step_units());
  }
  void update(const Exec& ex, const moe::StepInfo& info) override { lm_.update(ex, info); }

  std::string show(const Stress& stress, int64_t most) override {
    unshow();
    shown_ = std::make_unique<Shown>();
    data::NoisySplit& text = shown_->text;
    const auto all = static_cast<int64_t>(split_.token.size());
    const int64_t tokens = most > 0 ? std::min(most + 1, all) : all;
    text.split = prefix(split_, tokens);
    switch (stress.kind) {
      case Stress::Kind::kNone:
      case Stress::Kind::kOrder: break;
      case Stress::Kind::kNoise:
        text = data::add_noise(set_, text.split, data::find_noise(stress.name), stress.value, kStressSeed);
        break;
      case Stress::Kind::kShift: text.split = data::load_shifted(set_, stress.name, data_dir_, tokens); break;
      default: usage_error("'", stress.name, "' is a stress of images; text has noises");
    }
    shown_->aligned = stress.kind != Stress::Kind::kShift;
    const int64_t windows = shown_->cut(config_.context, tokens - 1, stress.kind == Stress::Kind::kNoise);
    if (stress.kind == Stress::Kind::kOrder) shown_->order = reordered(stress.name, windows, kStressSeed);
    const auto rows = static_cast<size_t>(score_batcher_.batch_size() * config_.context);
    shown_->place.resize(rows), shown_->target_place.resize(rows);
    const bool nothing = stress.kind == Stress::Kind::kNoise && text.sites == 0;
    return nothing ? "this text has no place for the noise" : "";
  }
  void unshow() override { shown_.reset(); }
  std::vector<Stress> stresses(Stress::Kind kind) const override {
    std::vector<Stress> all;
    if (kind == Stress::Kind::kNoise)
      for (const data::Noise& n : data::noises())
        for (size_t s = 0; data::applies(n, set_) && s < n.rates.size(); ++s)
          all.push_back({kind, n.name, static_cast<int>(s) + 1, n.rates[s], 0});
    return all;
  }
  std::unique_ptr<Workload> again(const Suite& cell) const override {
    return std::make_unique<LanguageWorkload>(cell, data_, data_dir_);
  }
  int64_t score_batches() const override {
    if (!shown_) return score_batcher_.eval_batches(split_, stride_);
    return (shown_->windows() + score_batcher_.batch_size() - 1) / score_batcher_.batch_size();
  }
  Scored score(const Exec& ex, const moe::StepInfo& info, int64_t batch) override {
    Scored s;
    Batch& b = batches_[0];
    b.step = -1;
    s.sequences = shown_
                      ? show_batch(batch)
                      : score_batcher_.eval_batch(split_, stride_, batch, b.token.host(), b.target.host(), cluster());
    s.tokens = config_.context;
    s.rows = s.sequences * s.tokens;
    s.units = mark_padding(s.rows);
    const bool padded = s.units < s.rows;
    b.token.send(ex, s.rows), b.target.send(ex, s.rows);
    if (cluster()) b.cluster.send(ex, s.rows);
    if (padded) mask_.send(ex, s.rows);
    place_.wait();
    const Stopwatch watch;
    lm_.forward(ex, info,
                {b.token.there(), static_cast<int32_t>(s.sequences), config_.context, cluster_there(),
                 padded ? mask_.there() : nullptr, s.units});
    lm_.score(ex, b.target.there(), 0, loss_.there(), predicted_.there(), confidence_.there());
    place_.wait();
    s.seconds = watch.seconds();
    loss_.fetch(ex, s.rows), predicted_.fetch(ex, s.rows), confidence_.fetch(ex, s.rows);
    place_.wait();
    for (int64_t i = 0; padded && cluster() && i < s.rows; ++i) cluster()[i] = mask_.host()[i] ? cluster()[i] : -1;
    s.loss = loss_.host();
    s.target = b.target.host();
    s.predicted = predicted_.host();
    s.confidence = confidence_.host();
    s.token = b.token.host();
    s.cluster = cluster();
    if (shown_) s.place = shown_->place.data(), s.target_place = shown_->target_place.data();
    return s;
  }

  std::vector<NamedValue> results(const Evaluation& e) const override {
    const double tokens_per_unit = static_cast<double>(split_.token.size()) / split_.units;
    std::vector<NamedValue> all;
    if (planted_clusters() > 0) {
      // Windows that overlap give every target but the first of the split its context.
      const double best = stride_ == config_.context ? set_.planted_window_entropy(stride_) : set_.planted_entropy;
      all.push_back({"excess_loss", e.loss - best});
    } else if (set_.unit == "word") {
      all.push_back({"word_perplexity", std::exp(e.loss * tokens_per_unit)});
    } else {
      all.push_back(
          {set_.unit == "byte" ? "bits_per_byte" : "bits_per_character", e.loss * tokens_per_unit / std::log(2.0)});
    }
    all.push_back({"token_loss", e.loss});
    all.push_back({"next_token_accuracy", e.accuracy});
    all.push_back({"calibration_error", e.calibration.error()});
    return all;
  }

 private:
  struct Batch {
    Mirror<int32_t> token, target, cluster;
    int64_t step = -1;  // of training, which this is the batch of
  };
  Batch& batch_of(int64_t step) { return batches_[place_.on_device() ? step % 2 : 0]; }

  // What show() asked for: a text, the windows it is cut into, and of the batch that is scored what it came from.
  struct Shown {
    data::NoisySplit text;                     // without noise source and unchanged are empty: every token is itself
    bool aligned = true;                       // its tokens are those of the evaluated split
    std::vector<int64_t> begin;                // [windows + 1] first tokens
    std::vector<int64_t> order;                // [windows]; empty: as they are
    std::vector<int64_t> place, target_place;  // [rows]

    int64_t windows() const { return static_cast<int64_t>(begin.size()) - 1; }
    int64_t cut(int64_t context, int64_t clean_targets, bool noisy) {
      const int64_t targets = static_cast<int64_t>(text.split.token.size()) - 1;
      if (noisy)
        begin = data::window_starts(text, clean_targets, context);
      else
        for (int64_t at = 0; at < targets; at += context) begin.push_back(at);
      while (!begin.empty() && begin.back() >= targets) begin.pop_back();
      begin.push_back(targets);
      return windows();
    }
    int64_t source(int64_t token) const {
      const auto t = static_cast<size_t>(token);
      if (!aligned) return -1;
      return text.source.empty() ? token : text.unchanged[t] ? text.source[t] : -1;
    }
  };

  static data::TextSplit prefix(const data::TextSplit& whole, int64_t tokens) {
    data::TextSplit part;
    part.token.assign(whole.token.begin(), whole.token.begin() + tokens);
    if (!whole.cluster.empty()) part.cluster.assign(whole.cluster.begin(), whole.cluster.begin() + tokens);
    part.units = whole.units * static_cast<double>(tokens) / static_cast<double>(whole.token.size());
    return part;
  }

  // Fills tokens, targets and clusters of a batch of what is shown; returns how many sequences.
  int64_t show_batch(int64_t batch) {
    Shown& shown = *shown_;
    const int64_t first = batch * score_batcher_.batch_size(), context = config_.context;
    const int64_t n = std::min(score_batcher_.batch_size(), shown.windows() - first);
    for (int64_t i = 0; i < n; ++i) {
      const int64_t w = shown.order.empty() ? first + i : shown.order[static_cast<size_t>(first + i)];
      const int64_t start = shown.begin[static_cast<size_t>(w)], end = shown.begin[static_cast<size_t>(w) + 1];
      const auto row = static_cast<size_t>(i * context);
      int32_t* target = batches_[0].target.host() + row;
      score_batcher_.window(shown.text.split, start, start, end, batches_[0].token.host() + row, target,
                            cluster() ? cluster() + row : nullptr);
      for (int64_t t = 0; t < context; ++t) {
        const bool scored = target[t] >= 0;
        shown.place[row + static_cast<size_t>(t)] = scored ? shown.source(start + t) : -1;
        shown.target_place[row + static_cast<size_t>(t)] = scored ? shown.source(start + t + 1) : -1;
      }
    }
    return n;
  }

  int32_t* cluster() { return planted_clusters() > 0 ? batches_[0].cluster.host() : nullptr; }
  const int32_t* cluster_there() { return planted_clusters() > 0 ? batches_[0].cluster.there() : nullptr; }

  // Every window ends with a target that is scored; what comes after it is padding. Returns how many tokens are none.
  int64_t mark_padding(int64_t rows) {
    int64_t real = 0;
    for (int64_t begin = 0; begin < rows; begin += config_.context) {
      int64_t length = config_.context;
      while (length > 0 && batches_[0].target.host()[begin + length - 1] < 0) --length;
      for (int64_t i = 0; i < config_.context; ++i) mask_.host()[begin + i] = i < length;
      real += length;
    }
    return real;
  }

  std::shared_ptr<const data::TextDataset> data_;
  const data::TextDataset& set_;
  std::filesystem::path data_dir_;
  const data::TextSplit& split_;
  const char* split_name_;
  Place place_;
  model::LmConfig config_;
  int64_t stride_;
  std::unique_ptr<Instance> router_;
  int64_t batch_;
  data::TextBatcher train_batcher_, score_batcher_;
  model::Lm lm_;
  Batch batches_[2];  // the second one: of the next step, while a device has the first
  Mirror<int32_t> predicted_;
  Mirror<float> loss_, confidence_;
  Mirror<uint8_t> mask_;
  std::unique_ptr<Shown> shown_;
};

class LanguageModality : public Modality {
 public:
  const char* unit() const override { return "token"; }
  const char* group() const override { return "group_sequences"; }

  void check_dataset(const std::string& id) const override {
    const std::vector<std::string>& known = data::text_ids();
    if (id.rfind("text_file:", 0) != 0 && std::find(known.begin(), known.end(), id) == known.end())
      usage_error("unknown text '", id, "'", suggestion(id, known), ", text_file:PATH");
  }
  Json shape(const Task& task, const std::filesystem::path& data_dir) const override {
    const data::TextDataset set = data::load_text(task.dataset, data_dir, text_options(task));
    return {{"id", set.id},
            {"vocabulary", set.vocabulary},
            {"planted_clusters", set.planted_clusters},
            {"train_tokens", set.train.token.size()}};
  }
  void check(const Suite& suite, const RouterEntry& router, const Json& shape) const override {
    const model::LmConfig c = lm_config(router, shape.at("vocabulary"), shape.at("planted_clusters"));
    if (suite.stride > c.context)
      usage_error("evaluation.stride ", suite.stride, " is more than the context of ", c.context,
                  " tokens; some tokens would never be scored");
    if (shape.at("train_tokens").get<int64_t>() <= c.context)
      usage_error("router '", router.label, "': the training split of '", shape.at("id").get<std::string>(), "' has ",
                  shape.at("train_tokens"), " tokens; a context of ", c.context, " needs at least one more");
    // Forward of the attention projections and the head alone: 2 FLOPs per weight and token, and twice that backward.
    const double weights = 4.0 * c.depth * c.width * c.width + 1.0 * c.vocabulary * c.width;
    const double tokens = 1.0 * suite.batch * c.context;
    require_one_step(suite, 6 * weights * tokens, tokens);
    for (const std::string& name : suite.robustness.only) data::find_noise(name);
    for (const std::string& id : suite.robustness.shift) check_dataset(id);
  }
  std::unique_ptr<Workload> make(const Suite& cell, const std::filesystem::path& data_dir) const override {
    const Task& task = cell.tasks.at(0);
    return std::make_unique<LanguageWorkload>(
        cell, std::make_shared<data::TextDataset>(data::load_text(task.dataset, data_dir, text_options(task))),
        data_dir);
  }
  std::unique_ptr<Workload> make_on_noise(const Suite& cell, const Json& shape) const override {
    data::TextDataset noise;
    noise.id = shape.at("id");
    noise.vocabulary = shape.at("vocabulary");
    noise.planted_clusters = shape.at("planted_clusters");
    const model::LmConfig c = lm_config(cell.routers.at(0), noise.vocabulary, noise.planted_clusters);
    Random random(1);
    for (int64_t i = 0; i < int64_t{64} * c.context + 1; ++i) {  // windows enough for an order; a batch goes round
      noise.train.token.push_back(static_cast<int32_t>(random.below(static_cast<uint32_t>(noise.vocabulary))));
      if (noise.planted_clusters > 0)
        noise.train.cluster.push_back(
            static_cast<int32_t>(random.below(static_cast<uint32_t>(noise.planted_clusters))));
    }
    noise.train.units = static_cast<double>(noise.train.token.size());
    return std::make_unique<LanguageWorkload>(cell, std::make_shared<data::TextDataset>(std::move(noise)),
                                              std::filesystem::path());
  }
};

}  // namespace

const Modality& language_modality() {
  static const LanguageModality it;
  return it;
}

model::LmConfig lm_config(const RouterEntry& router, int32_t vocabulary, int32_t clusters) {
  const Json& m = router.model;
  model::LmConfig c;
  c.vocabulary = vocabulary;
  c.clusters = clusters;
  take(m, "context", c.context);
  c.norm = m.value("norm", "layer") == "rms" ? model::NormKind::kRms : model::NormKind::kLayer;
  c.positions =
      m.value("positions", "learned") == "rotary" ? model::PositionKind::kRotary : model::PositionKind::kLearned;
  c.activation =
      m.value("activation", "gelu") == "swiglu" ? model::ActivationKind::kSwiglu : model::ActivationKind::kGelu;
  take(m, "tied_head", c.tied_head);
  take(m, "bias", c.bias);
  take(m, "init_std", c.init_std);
  c.site = m.value("site", "ffn") == "block" ? SWY_SITE_BLOCK : SWY_SITE_FFN;
  take(m, "shared_experts", c.shared_experts);
  take(m, "group_sequences", c.group_sequences);
  c.dropless = !m.contains("capacity");
  take(m, "dropless", c.dropless);
  if (c.dropless && m.contains("capacity"))
    usage_error("router '", router.label, "': model.capacity says nothing while model.dropless is true; give one");
  take_model(router, c);
  try {
    c.validate();
  } catch (const Error& e) {
    throw Error(e.kind, "router '" + router.label + "': " + e.what());
  }
  return c;
}

}  // namespace swy::bench
