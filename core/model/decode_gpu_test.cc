// Incremental decoding on a CUDA device: as one full pass there, as the decoder on the CPU, and a step that is recorded
// once decodes whatever follows: nothing in it waits, allocates or depends on how long the sequences are.
#include <gtest/gtest.h>

#include <cstring>

#include "core/base/error.h"
#include "core/model/decode_fixture.h"

namespace swy::model {
namespace {

class DeviceDecoder : public testing::TestWithParam<size_t> {
 protected:
  void SetUp() override {
    if (const std::string why = why_no_cuda(); !why.empty()) GTEST_SKIP() << why;
  }
  static LmConfig config() { return models_to_decode()[GetParam()]; }
};
INSTANTIATE_TEST_SUITE_P(Models, DeviceDecoder, testing::Range(size_t{0}, models_to_decode().size()),
                         [](const auto& i) {
                           const LmConfig c = models_to_decode()[i.param];
                           return cat(c.norm == NormKind::kRms ? "llama" : "gpt",
                                      c.routed_layers.empty() ? "_dense" : "_routed");
                         });

TEST_P(DeviceDecoder, EqualsTheFullPass) { expect_decodes_as_the_full_pass(config(), 0); }

TEST_P(DeviceDecoder, AgreesWithTheCpu) {
  TinyDecoding host(config(), Arena::kHost), device(config(), 0);
  const auto compare = [&] {
    const std::vector<float> want = host.logits(), got = device.logits();
    for (size_t i = 0; i < want.size(); ++i)
      ASSERT_NEAR(got[i], want[i], 1e-5 * (1 + std::fabs(want[i]))) << i << " length " << host.decoder.length(0);
  };
  for (TinyDecoding* t : {&host, &device}) t->prefill({5, 1, 4});
  compare();
  for (int32_t step = 5; step < host.context(); ++step) {
    host.step(), device.step();
    compare();
  }
  for (moe::Site* s : device.lm.sites()) s->drain(device.exec);
  for (const Part part : {Part::kModel, Part::kExperts, Part::kRouter}) {
    const Work &d = device.tally.of(part, Pass::kForward), &h = host.tally.of(part, Pass::kForward);
    EXPECT_EQ(d.flops, h.flops) << "part " << static_cast<int>(part);
    EXPECT_NEAR(d.bytes, h.bytes, 1e-12 * h.bytes) << "part " << static_cast<int>(part);
  }
  EXPECT_THROW(device.decoder.step(device.exec, device.ids.there()), Error) << "the context is full";
}

TEST_P(DeviceDecoder, OneRecordedStepDecodesAll) {
  TinyDecoding plain(config(), 0), replayed(config(), 0);
  for (TinyDecoding* t : {&plain, &replayed}) t->prefill({5, 1, 4}), t->step();
  const DeviceGraph graph(*replayed.stream, [&] { replayed.decoder.step(replayed.exec, replayed.ids.there()); });
  for (int32_t step = 6; step < plain.context(); ++step) {
    plain.step();
    replayed.send(std::vector<int32_t>(plain.ids.host(), plain.ids.host() + TinyDecoding::kSequences));
    graph.launch(*replayed.stream);
    const std::vector<float> want = plain.logits(), got = replayed.logits();
    EXPECT_EQ(std::memcmp(got.data(), want.data(), want.size() * sizeof(float)), 0) << "step " << step;
  }
}

}  // namespace
}  // namespace swy::model
