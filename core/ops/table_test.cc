#include "core/ops/table.h"

#include <cstring>
#include <string>

#include "core/ops/check.h"

namespace swy::ops {
namespace {

struct Caller {
  Tally tally;
  Exec host{&tally};
  char error[200] = "";
  swy_exec exec = {};
  Caller() {
    exec.struct_size = sizeof exec;
    exec.device = SWY_CPU;
    exec.seed = 42;
    exec.error = error;
    exec.error_cap = sizeof error;
    exec.ctx = &host;
  }
};

void expect_refused(Caller& caller, swy_status status, const std::string& op, const std::string& reason) {
  EXPECT_EQ(status, SWY_INVALID);
  const std::string text = caller.error;
  EXPECT_NE(text.find(op), std::string::npos) << text;
  EXPECT_NE(text.find(reason), std::string::npos) << text;
  caller.error[0] = 0;
}

// The table is complete: size and version are right and no entry is null.
TEST(Table, EveryEntryIsFilled) {
  const swy_ops& t = table();
  EXPECT_EQ(t.struct_size, sizeof(swy_ops));
  EXPECT_EQ(t.version, static_cast<uint32_t>(SWY_OPS_VERSION));
  for (size_t at = offsetof(swy_ops, gemm); at < sizeof(swy_ops); at += sizeof(void*)) {
    void* entry;
    std::memcpy(&entry, reinterpret_cast<const char*>(&t) + at, sizeof entry);
    EXPECT_NE(entry, nullptr) << "entry at byte " << at;
  }
}

// Wrong arguments come back as SWY_INVALID, with the op and what is wrong in the text, and nothing is done.
TEST(Table, RefusesWrongArguments) {
  Caller c;
  const swy_ops& t = table();
  const swy_exec* e = &c.exec;
  float x[16] = {}, y[16] = {};
  int32_t i[16] = {};
  expect_refused(c, t.gemm(e, 0, 0, -1, 2, 2, 1, x, x, 0, y), "gemm", "negative");
  expect_refused(c, t.gemm(e, 0, 0, 2, 2, 2, 1, nullptr, x, 0, y), "gemm", "null");
  expect_refused(c, t.top_k_rows(e, 2, 3, 4, x, i, y), "top_k_rows", "k is larger");
  expect_refused(c, t.unary(e, SWY_FLOOR + 1, 4, 0, 0, x, y), "unary", "unknown kind");
  expect_refused(c, t.binary(e, -1, 1, 1, x, SWY_FULL, x, SWY_FULL, y), "binary", "unknown kind");
  expect_refused(c, t.binary(e, SWY_ADD, 1, 1, x, SWY_FULL, x, 9, y), "binary", "shape");
  expect_refused(c, t.reduce(e, 5, SWY_OVER_ROWS, 1, 1, nullptr, x, y), "reduce", "SWY_SUM");
  expect_refused(c, t.reduce(e, SWY_SUM, 2, 1, 1, nullptr, x, y), "reduce", "axis");
  expect_refused(c, t.hash(e, 1, i, 0, 0, i), "hash", "modulus");
  expect_refused(c, t.random(e, 3, 0, 1, 0, 1, y), "random", "distribution");
  expect_refused(c, t.softmax_segments(e, 1, nullptr, 1, 1, x, y), "softmax_segments", "null");
  expect_refused(c, t.tally(e, nullptr, nullptr), "tally", "null");
  EXPECT_EQ(c.tally.total().flops, 0);

  c.exec.ctx = nullptr;
  expect_refused(c, t.fill(e, 1, 0, y), "fill", "ctx");
  EXPECT_EQ(t.fill(nullptr, 1, 0, y), SWY_INVALID);
  c.exec.error_cap = 4;  // a short buffer cuts the reason, terminated
  c.error[4] = '!';
  EXPECT_EQ(t.fill(e, 1, 0, y), SWY_INVALID);
  EXPECT_EQ(std::string(c.error), "swy");
  EXPECT_EQ(c.error[4], '!');
}

// Calls reach the op, random takes its seed from swy_exec, and tally reads back what was counted.
TEST(Table, CallsAndCounts) {
  Caller c;
  const swy_ops& t = table();
  const float a[] = {1, 2, 3, 4}, b[] = {1, 1, 1, 1};
  float y[4];
  double before, bytes, after;
  EXPECT_EQ(t.tally(&c.exec, &before, &bytes), SWY_OK);
  EXPECT_EQ(t.gemm(&c.exec, 0, 0, 2, 2, 2, 1, a, b, 0, y), SWY_OK);
  EXPECT_EQ(t.tally(&c.exec, &after, &bytes), SWY_OK);
  EXPECT_EQ(Floats(y, y + 4), (Floats{3, 3, 7, 7}));
  EXPECT_EQ(after - before, 16);
  EXPECT_EQ(bytes, 48);

  float first[4], second[4];
  t.random(&c.exec, SWY_RANDOM_UNIFORM, 1, 4, 0, 1, first);
  c.exec.seed = 43;
  t.random(&c.exec, SWY_RANDOM_UNIFORM, 1, 4, 0, 1, second);
  EXPECT_NE(Floats(first, first + 4), Floats(second, second + 4));
}

// Under SWY_EXEC_DRY null pointers are fine and the work is still counted.
TEST(Table, DryRunNeedsNoMemory) {
  Caller c;
  c.exec.flags = SWY_EXEC_DRY;
  const swy_ops& t = table();
  EXPECT_EQ(t.gemm(&c.exec, 0, 0, 8, 8, 8, 1, nullptr, nullptr, 0, nullptr), SWY_OK);
  EXPECT_EQ(t.top_k_segments(&c.exec, 1, nullptr, nullptr, 8, 8, nullptr, nullptr, nullptr, 8, nullptr, nullptr,
                             nullptr, nullptr),
            SWY_OK);
  EXPECT_EQ(c.tally.total().flops, 2 * 512 + 64);
  EXPECT_FALSE(c.host.dry) << "the host's own Exec is not changed";
}

// Empty extents need no pointers outside a dry run either.
TEST(Table, NoRowsNeedNoMemory) {
  Caller c;
  const swy_ops& t = table();
  EXPECT_EQ(t.softmax_rows(&c.exec, 0, 8, nullptr, nullptr), SWY_OK);
  EXPECT_EQ(t.layer_norm(&c.exec, 0, 8, 0, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr), SWY_OK);
  EXPECT_EQ(t.sort_segments(&c.exec, 0, nullptr, 0, 0, nullptr, nullptr, nullptr), SWY_OK);
}

}  // namespace
}  // namespace swy::ops
