// Every entry of "swy.ops/1", and the ops that models use beside it, on the CPU and on a CUDA device.
#include <cstdio>
#include <set>

#include "core/ops/device_check.h"
#include "core/ops/gemm.h"

namespace swy::ops {
namespace {

Cases device_cases() {
  Cases all = table_cases();
  for (DeviceCase& c : layer_cases()) all.push_back(std::move(c));
  return all;
}
Cases cases_of(const std::string& entry) {
  Cases some;
  for (DeviceCase& c : device_cases())
    if (c.name == entry) some.push_back(std::move(c));
  return some;
}
std::vector<std::string> entries() {
  std::set<std::string> names;
  for (const DeviceCase& c : device_cases()) names.insert(c.name);
  return {names.begin(), names.end()};
}

// A table that grows without cases for what is new fails here, on every machine.
TEST(DeviceCases, CoverTheTable) {
  std::set<size_t> covered;
  for (const DeviceCase& c : table_cases()) covered.insert(c.entry);
  for (size_t at = offsetof(swy_ops, gemm); at < sizeof(swy_ops); at += sizeof(void*))
    EXPECT_TRUE(covered.count(at)) << "no case calls the entry at byte " << at << " of swy_ops";
}

// What the device is compared with: every case runs on the CPU, and leaves its inputs alone.
TEST(DeviceCases, RunOnTheCpu) {
  for (const DeviceCase& c : device_cases()) {
    SCOPED_TRACE(cat(c.name, " ", c.what));
    Work work;
    const Contents got = run_on_cpu(c, &work), before = start(c);
    for (size_t a = 0; a < c.arrays.size(); ++a)
      EXPECT_TRUE(c.arrays[a].role != Role::kInput || got[a] == before[a]) << "input " << a << " changed";
  }
}

class DeviceOps : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    if (const std::string why = why_no_cuda(); !why.empty()) GTEST_SKIP() << why;
  }
  static Stream& stream() {
    static Stream one;
    return one;
  }
};

TEST_P(DeviceOps, AgreesWithTheCpu) {
  for (const DeviceCase& c : cases_of(GetParam())) expect_agreement(c, stream());
}
TEST_P(DeviceOps, DryRunTouchesNothing) {
  for (const DeviceCase& c : cases_of(GetParam())) expect_dry_run_touches_nothing(c, stream());
}

INSTANTIATE_TEST_SUITE_P(Table, DeviceOps, testing::ValuesIn(entries()), [](const auto& i) { return i.param; });

// The own kernel and the library agree; so does the library with inputs rounded to TF32, within what that rounds.
TEST(DeviceGemm, KernelAndLibraryAgree) {
  const std::string with = cuda_gemm_library();  // needs no device
  std::printf("matrix products on CUDA: %s\n", with.c_str());
  EXPECT_TRUE(with.rfind("cuBLASLt ", 0) == 0 || with == "emulated cuBLASLt" ||
              with.find("SWITCHYARD_CUBLASLT") != std::string::npos || !kWithCuda)
      << "neither a version nor what to do: " << with;
  if (const std::string why = why_no_cuda(); !why.empty()) GTEST_SKIP() << why;
  Stream plain, rounded;
  plain.plain_gemm = true, rounded.tf32 = true;
  for (DeviceCase& c : cases_of("gemm")) {
    SCOPED_TRACE(c.what);
    Work work;
    const Contents want = run_on_cpu(c, &work);
    for (Stream* s : {&plain, &rounded}) {
      for (Array& a : c.arrays)
        if (a.role != Role::kInput) a.tolerance = s->tf32 ? 5e-2 : 1e-4;  // TF32 rounds each factor by up to 2^-11
      OnDevice arrays(c, *s);
      arrays.reset();
      Caller caller(s);
      caller.run(c, arrays.pointers());
      expect_close(c, arrays.read(), want);
    }
  }
}

// The table refuses a call whose swy_exec says another device than its context.
TEST(DeviceTable, RefusesAnotherDevice) {
  Caller caller(nullptr);
  caller.exec.device = SWY_CUDA;
  float y = 0;
  EXPECT_EQ(table().fill(&caller.exec, 1, 1, &y), SWY_INVALID);
  EXPECT_NE(std::string(caller.error).find("swy_exec.device"), std::string::npos) << caller.error;
}

// What an op needs beyond the stream's room is an error that says how much, not a write beyond it.
TEST(DeviceTable, TooLittleRoomIsAnError) {
  if (const std::string why = why_no_cuda(); !why.empty()) GTEST_SKIP() << why;
  Stream small(0, 256);
  Caller caller(&small);
  const int64_t rows = 100000;
  DeviceMemory memory(0, rows * 16 + 4);
  auto* i = static_cast<int32_t*>(memory.data());
  EXPECT_EQ(table().assign_rows(&caller.exec, rows, 1, i, nullptr, nullptr, nullptr, 0, i + rows, i + 2 * rows,
                                reinterpret_cast<float*>(i + 3 * rows), i + 4 * rows),
            SWY_DEVICE_ERROR);
  EXPECT_NE(std::string(caller.error).find("room"), std::string::npos) << caller.error;
}

}  // namespace
}  // namespace swy::ops
