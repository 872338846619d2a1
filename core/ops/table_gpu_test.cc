// Every entry of "swy.ops/1" on the CPU and on a CUDA device: the same results within each array's tolerance, the same
// work counted, the same bits when repeated and when replayed from a graph, and no byte written beyond an array.
#include <cmath>
#include <cstring>
#include <set>

#include "core/device/arena.h"
#include "core/ops/check.h"
#include "core/ops/device_cases.h"
#include "core/ops/gemm.h"
#include "core/ops/table.h"

namespace swy::ops {
namespace {

using Contents = std::vector<std::vector<uint8_t>>;  // of every array

Contents start(const DeviceCase& c) {
  Contents all;
  for (const Array& a : c.arrays) {
    all.push_back(a.bytes);
    if (a.role == Role::kOutput || a.role == Role::kWork)
      std::fill(all.back().begin(), all.back().end(), uint8_t{0xA5});
  }
  return all;
}

struct Caller {
  Tally tally;
  Exec host{&tally};
  char error[400] = "";
  swy_exec exec = {};
  explicit Caller(Stream* stream, uint32_t flags = 0) {
    host.stream = stream;
    exec.struct_size = sizeof exec, exec.device = stream ? SWY_CUDA : SWY_CPU, exec.seed = 42, exec.flags = flags;
    exec.error = error, exec.error_cap = sizeof error, exec.ctx = &host;
  }
  void run(const DeviceCase& c, const Pointers& p) { ASSERT_EQ(c.call(table(), &exec, p), SWY_OK) << error; }
};

Contents run_on_cpu(const DeviceCase& c, Work* work) {
  Contents all = start(c);
  Pointers p;
  for (auto& bytes : all) p.at.push_back(bytes.data());
  Caller caller(nullptr);
  caller.run(c, p);
  *work = caller.tally.total();
  return all;
}

// The arrays of a case on a device, between red zones.
class OnDevice {
 public:
  OnDevice(const DeviceCase& c, Stream& stream) : case_(c), stream_(stream) {
    for (size_t i = 0; i < c.arrays.size(); ++i)
      arena_.reserve(cat("array ", i), static_cast<int64_t>(c.arrays[i].bytes.size()));
    arena_.commit_on(stream.device());
    for (size_t i = 0; i < c.arrays.size(); ++i)
      pointers_.at.push_back(c.arrays[i].role == Role::kHost ? const_cast<uint8_t*>(c.arrays[i].bytes.data())
                                                             : arena_.at(static_cast<int>(i)));
  }
  const Pointers& pointers() const { return pointers_; }
  void reset() { copy(start(case_), true); }
  Contents read() {
    stream_.wait();
    Contents all = start(case_);
    copy(all, false);
    EXPECT_EQ(arena_.overrun(), "") << "written beyond its end";
    return all;
  }

 private:
  template <class All>
  void copy(All&& all, bool to_device) {
    for (size_t i = 0; i < all.size(); ++i) {
      if (case_.arrays[i].role == Role::kHost || all[i].empty()) continue;
      void *here = const_cast<uint8_t*>(all[i].data()), *there = pointers_.at[i];
      device_copy(to_device ? there : here, to_device ? here : there, static_cast<int64_t>(all[i].size()));
    }
  }
  const DeviceCase& case_;
  Stream& stream_;
  Arena arena_;
  Pointers pointers_;
};

float float_at(const std::vector<uint8_t>& bytes, size_t i) {
  float v;
  std::memcpy(&v, bytes.data() + 4 * i, 4);
  return v;
}
bool close(float got, float want, double tolerance) {
  if (std::memcmp(&got, &want, 4) == 0 || (std::isnan(got) && std::isnan(want))) return true;
  if (got == want) return true;  // infinities, and zeros of either sign
  return std::fabs(double{got} - double{want}) <= tolerance * (1 + std::fabs(double{want}));
}

void expect_close(const DeviceCase& c, const Contents& got, const Contents& want) {
  for (size_t a = 0; a < c.arrays.size(); ++a) {
    const Array& array = c.arrays[a];
    if (array.role == Role::kWork || array.role == Role::kHost) continue;
    if (!array.is_float || array.role == Role::kInput) {
      const auto place = std::mismatch(got[a].begin(), got[a].end(), want[a].begin()).first - got[a].begin();
      EXPECT_TRUE(got[a] == want[a]) << "array " << a << " differs from byte " << place << " on";
      continue;
    }
    int wrong = 0;
    for (size_t i = 0; i < got[a].size() / 4; ++i) {
      const float g = float_at(got[a], i), w = float_at(want[a], i);
      if (close(g, w, array.tolerance) || ++wrong > 3) continue;
      ADD_FAILURE() << "array " << a << " element " << i << ": got " << g << ", want " << w;
    }
    EXPECT_LE(wrong, 0) << "elements of array " << a << " in all: " << got[a].size() / 4;
  }
}

void expect_same_bits(const DeviceCase& c, const Contents& got, const Contents& want, const char* when) {
  for (size_t a = 0; a < c.arrays.size(); ++a)
    EXPECT_TRUE(c.arrays[a].role == Role::kWork || got[a] == want[a]) << "array " << a << " has other bits " << when;
}

std::vector<DeviceCase> cases_of(const std::string& entry) {
  std::vector<DeviceCase> some;
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
  for (const DeviceCase& c : device_cases()) covered.insert(c.entry);
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
  for (const DeviceCase& c : cases_of(GetParam())) {
    SCOPED_TRACE(c.what);
    Work cpu_work;
    const Contents want = run_on_cpu(c, &cpu_work);
    OnDevice arrays(c, stream());
    arrays.reset();
    Caller caller(&stream());
    caller.run(c, arrays.pointers());
    const Contents got = arrays.read();
    expect_close(c, got, want);
    EXPECT_EQ(caller.tally.total().flops, cpu_work.flops);
    EXPECT_EQ(caller.tally.total().bytes, cpu_work.bytes);

    arrays.reset();
    caller.run(c, arrays.pointers());
    expect_same_bits(c, arrays.read(), got, "when repeated");

    if (c.name == "tally" || c.name == "charge") continue;  // nothing to record
    const DeviceGraph graph(stream(), [&] { caller.run(c, arrays.pointers()); });
    for (int replay = 0; replay < 2; ++replay) {
      arrays.reset();
      graph.launch(stream());
      expect_same_bits(c, arrays.read(), got, "when replayed from a graph");
    }
  }
}

// A dry run on a device counts the same and touches nothing.
TEST_P(DeviceOps, DryRunTouchesNothing) {
  for (const DeviceCase& c : cases_of(GetParam())) {
    if (c.name == "tally") continue;
    SCOPED_TRACE(c.what);
    Work cpu_work;
    run_on_cpu(c, &cpu_work);
    OnDevice arrays(c, stream());
    arrays.reset();
    Caller caller(&stream(), SWY_EXEC_DRY);
    caller.run(c, arrays.pointers());
    EXPECT_EQ(caller.tally.total().flops, cpu_work.flops);
    expect_same_bits(c, arrays.read(), start(c), "after a dry run");
  }
}

INSTANTIATE_TEST_SUITE_P(Table, DeviceOps, testing::ValuesIn(entries()), [](const auto& i) { return i.param; });

// The own kernel and the library agree; so does the library with inputs rounded to TF32, within what that rounds.
TEST(DeviceGemm, KernelAndLibraryAgree) {
  const std::string with = cuda_gemm_library();  // needs no device
  std::printf("matrix products on CUDA: %s\n", with.c_str());
  EXPECT_TRUE(with.rfind("cuBLASLt ", 0) == 0 || with.find("SWITCHYARD_CUBLASLT") != std::string::npos || !kWithCuda)
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
