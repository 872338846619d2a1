#include "core/model/checkpoint.h"

#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <memory>
#include <string>

#include "core/base/error.h"
#include "core/base/files.h"
#include "core/model/tiny_training.h"
#include "core/plugin/loader.h"

namespace swy::model {
namespace {

class Checkpoint : public testing::Test {
 protected:
  void SetUp() override {
    directory = std::filesystem::path(testing::TempDir()) /
                (std::string("swy_") + testing::UnitTest::GetInstance()->current_test_info()->name());
    std::filesystem::create_directories(directory);
    path = directory / "a.safetensors";
  }
  void TearDown() override { std::filesystem::remove_all(directory); }

  // A file from a hand-written header and `floats` zero tensor values.
  void write_raw(const std::string& header, size_t floats) {
    std::string content(8, '\0');
    content[0] = static_cast<char>(header.size() % 256), content[1] = static_cast<char>(header.size() / 256);
    write_atomically(path, content + header + std::string(4 * floats, '\0'));
  }
  static std::string message(const std::function<void()>& call) {
    try {
      call();
    } catch (const Error& e) {
      EXPECT_EQ(e.kind, Kind::kEnvironment) << e.what();
      return e.what();
    }
    return "no error";
  }
  void expect_fault(const std::string& header, size_t floats, const std::string& part) {
    write_raw(header, floats);
    EXPECT_NE(message([&] { SafetensorsFile file(path); }).find(part), std::string::npos)
        << message([&] { SafetensorsFile file(path); });
  }

  std::filesystem::path directory, path;
};

std::vector<float> everything(TinyTraining& t) {
  std::vector<float> all;
  for (size_t i = 0; i < t.vit.params().all().size(); ++i) {
    const Param& p = t.vit.params().all()[i];
    for (const float* x : {static_cast<const float*>(p.value), static_cast<const float*>(p.m),
                           static_cast<const float*>(p.v), static_cast<const float*>(t.optimizer.ema(i))})
      if (x) all.insert(all.end(), x, x + p.size);
  }
  return all;
}

// Ten steps in one go, and five, a checkpoint, fresh objects with other weights, five more: every weight, moment and
// average, the step and the tally are equal bit for bit.
void resume_is_exact(const std::filesystem::path& path, const std::string& router_name) {
  VitConfig config = tiny_vit();
  std::unique_ptr<Instance> routers[3];
  if (!router_name.empty()) {
    config.routed_layers = {0, 1};
    for (auto& router : routers) {
      const FoundRouter found = find_router(std::string(SWITCHYARD_BUILD_DIR) + "/plugins/" + router_name + ".so");
      router = std::make_unique<Instance>(*found.router, OptionText{}, 2);
    }
  }
  OptimizerConfig rule;
  rule.ema_decay = 0.9f, rule.clip_norm = 1;
  TinyTraining straight(config, routers[0].get(), rule), half(config, routers[1].get(), rule);
  const auto run = [](TinyTraining& t, int64_t from, int64_t to) {
    for (int64_t step = from; step < to; ++step) {
      t.draw_batch(step);
      t.train(step);
    }
  };
  run(straight, 0, 10);
  run(half, 0, 5);
  save_checkpoint(path, half.vit.params(), &half.optimizer, half.tally, {{"batch", "5"}});
  TinyTraining rest(config, routers[2].get(), rule, 77);
  const Metadata metadata = load_checkpoint(path, rest.vit.params(), &rest.optimizer, rest.tally);
  EXPECT_EQ(metadata, (Metadata{{"batch", "5"}}));
  run(rest, 5, 10);
  EXPECT_EQ(everything(rest), everything(straight));
  EXPECT_EQ(rest.optimizer.steps(), 10);
  EXPECT_EQ(rest.tally.total().flops, straight.tally.total().flops);
  EXPECT_EQ(rest.tally.total().bytes, straight.tally.total().bytes);
}
TEST_F(Checkpoint, ResumeIsExactDense) { resume_is_exact(path, ""); }
// The same with a router that draws noise from (run seed, step, site) and has losses of its own.
TEST_F(Checkpoint, ResumeIsExactRouted) { resume_is_exact(path, "softmax_token_choice"); }

// What is written is what is read: names, shapes, empty and scalar tensors, metadata.
TEST_F(Checkpoint, RoundTrip) {
  const float a[6] = {1, 2, 3, 4, 5, -6}, b = 7;
  write_safetensors(path, {{"a", {2, 3}, a}, {"none", {0, 4}, nullptr}, {"b", {}, &b}}, {{"who", "x \"y\" \n z"}});
  const SafetensorsFile file(path);
  ASSERT_EQ(file.tensors().size(), 3u);
  EXPECT_EQ(file.metadata(), (Metadata{{"who", "x \"y\" \n z"}}));
  EXPECT_EQ(file.find("a")->shape, (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(std::memcmp(file.find("a")->data, a, sizeof a), 0);
  EXPECT_EQ(*file.find("b")->data, 7);
  EXPECT_EQ(file.find("c"), nullptr);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(directory), {}), 1);  // no temporary file stays
}

// Every way in which a file can lie is found on reading and named.
TEST_F(Checkpoint, RefusesBrokenFiles) {
  const std::string good = R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})";
  write_raw(good, 2);
  EXPECT_EQ(SafetensorsFile(path).tensors().size(), 1u);
  expect_fault(good, 1, "tensor 'a' lies at bytes 0 to 8 of 4 (file cut short?)");
  expect_fault(good, 3, "has 12 bytes of data, its tensors need 8");
  expect_fault(R"({"a":{"dtype":"F16","shape":[2],"data_offsets":[0,8]}})", 2, "dtype \"F16\", not \"F32\"");
  expect_fault(R"({"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}})", 2, "of shape [3] has 8 bytes");
  expect_fault(R"({"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,8]}})", 2, "has 8 bytes");
  expect_fault(R"({"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}})", 2, "not a list of whole numbers");
  expect_fault(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}})", 2, "lies at bytes 8 to 0");
  expect_fault(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0]}})", 2, "not [begin, end]");
  expect_fault(R"({"a":{"dtype":"F32","shape":[2]}})", 2, "lacks dtype, shape or data_offsets");
  expect_fault(
      R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}})",
      3, "tensor 'b' starts at byte 4 where 8 is expected (overlap or gap)");
  expect_fault(R"({"__metadata__":{"k":1}})", 0, "metadata 'k' is not a string");
  expect_fault(R"([1])", 0, "not a JSON object");
  expect_fault(R"({"a")", 0, "not a JSON object");
  write_atomically(path, "abc");
  EXPECT_NE(message([&] { SafetensorsFile file(path); }).find("has 3 bytes"), std::string::npos);
  write_atomically(path, std::string(8, '\x7f'));
  EXPECT_NE(message([&] { SafetensorsFile file(path); }).find("its header claims"), std::string::npos);
  EXPECT_NE(message([&] { SafetensorsFile file(directory / "absent"); }), "no error");
}

// A checkpoint of another model changes nothing: missing, extra and differently shaped tensors are named.
TEST_F(Checkpoint, RefusesAnotherModel) {
  VitConfig deeper = tiny_vit(), wider = tiny_vit();
  deeper.depth = 3, wider.hidden = 48;
  TinyTraining plain(tiny_vit(), nullptr, {}), deep(deeper, nullptr, {}), wide(wider, nullptr, {});
  const auto load = [&](TinyTraining& t) { load_checkpoint(path, t.vit.params(), &t.optimizer, t.tally); };
  const std::vector<float> before = everything(plain);
  save_checkpoint(path, deep.vit.params(), &deep.optimizer, deep.tally, {});
  EXPECT_NE(message([&] { load(plain); }).find("has no place in this model"), std::string::npos);
  save_checkpoint(path, wide.vit.params(), &wide.optimizer, wide.tally, {});
  EXPECT_NE(message([&] { load(plain); }).find("'block0.mlp.w1' has shape [16, 48], the model wants [16, 32]"),
            std::string::npos);
  EXPECT_EQ(everything(plain), before);
  save_checkpoint(path, plain.vit.params(), &plain.optimizer, plain.tally, {});
  EXPECT_NE(message([&] { load(deep); }).find("'block2.ln1.g' is missing"), std::string::npos);
  save_checkpoint(path, plain.vit.params(), nullptr, plain.tally, {});
  EXPECT_NE(message([&] { load(plain); }).find("'adam_m/patch.w' is missing"), std::string::npos);
  EXPECT_THROW(save_checkpoint(path, plain.vit.params(), nullptr, plain.tally, {{"swy.step", "1"}}), Error);
}

// Weights alone can be read from a training checkpoint, for evaluation.
TEST_F(Checkpoint, WeightsAlone) {
  TinyTraining a(tiny_vit(), nullptr, {}, 1), b(tiny_vit(), nullptr, {}, 2);
  save_checkpoint(path, a.vit.params(), &a.optimizer, a.tally, {});
  load_checkpoint(path, b.vit.params(), nullptr, b.tally);
  EXPECT_EQ(everything(a), everything(b));
}

// A directory that cannot be written is an environment error that names it, and leaves nothing behind.
TEST_F(Checkpoint, UnwritableDirectory) {
  const std::filesystem::path nowhere = directory / "no" / "such" / "a.safetensors";
  EXPECT_NE(message([&] { write_safetensors(nowhere, {}, {}); }).find("no/such"), std::string::npos);
  EXPECT_FALSE(std::filesystem::exists(directory / "no"));
}

}  // namespace
}  // namespace swy::model
