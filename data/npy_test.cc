#include "data/npy.h"

#include "core/base/philox.h"
#include "data/manifest.h"
#include "data/testing.h"

namespace swy::data {
namespace {

// A header of the given format version, padded as numpy pads, and values that count up.
Bytes npy(const std::string& dict, size_t value_bytes, int version = 1) {
  const size_t prefix = version == 1 ? 10 : 12;
  std::string header = dict;
  while ((prefix + header.size() + 1) % 64 != 0) header += ' ';
  header += '\n';
  Bytes bytes = {0x93, 'N', 'U', 'M', 'P', 'Y', static_cast<uint8_t>(version), 0};
  for (size_t i = 8; i < prefix; ++i) bytes.push_back(static_cast<uint8_t>(header.size() >> 8 * (i - 8)));
  bytes.insert(bytes.end(), header.begin(), header.end());
  for (size_t i = 0; i < value_bytes; ++i) bytes.push_back(static_cast<uint8_t>(i));
  return bytes;
}

const char* const kDict = "{'descr': '|u1', 'fortran_order': False, 'shape': (3, 2, 2, 3), }";

NpyHeader parse(const Bytes& bytes) { return parse_npy_header(bytes, static_cast<int64_t>(bytes.size()), "a.npy"); }

TEST(Npy, AllVersionsAndTypes) {
  for (int version : {1, 2, 3}) {
    const NpyHeader header = parse(npy(kDict, 36, version));
    EXPECT_EQ(header.shape, (std::vector<int64_t>{3, 2, 2, 3}));
    EXPECT_EQ(header.data_at % 64, 0);
    EXPECT_EQ(header.values, 36);
  }
  EXPECT_EQ(parse(npy("{'descr': '<i8', 'fortran_order': False, 'shape': (3,), }", 24)).item_bytes, 8);
  EXPECT_EQ(parse(npy("{\"shape\":(3,),\"fortran_order\":False,\"descr\":\"<i4\"}", 12)).item_bytes, 4);
  EXPECT_EQ(parse(npy("{'descr': '|u1', 'fortran_order': False, 'shape': (0, 5), }", 0)).values, 0);
}

TEST(Npy, WhatIsWrongIsNamed) {
  const auto refused = [](const std::vector<std::string>& parts, const Bytes& bytes) {
    expect_error(Kind::kEnvironment, parts, [&] { parse(bytes); });
  };
  Bytes bytes = npy(kDict, 36);
  refused({"a.npy", "163 bytes", "(3, 2, 2, 3)", "164"}, npy(kDict, 35));  // a header of 128 bytes
  bytes[0] = 'x';
  refused({"a.npy", "no .npy file"}, bytes);
  refused({"no .npy file"}, {});
  refused({"format version 4"}, npy(kDict, 36, 4));
  bytes = npy(kDict, 36);
  bytes.resize(40);
  refused({"ends inside its header"}, bytes);
  refused({"Fortran"}, npy("{'descr': '|u1', 'fortran_order': True, 'shape': (3,), }", 3));
  refused({"'<f4'", "|u1"}, npy("{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }", 12));
  refused({"'>i8'"}, npy("{'descr': '>i8', 'fortran_order': False, 'shape': (3,), }", 24));
  refused({"no axis"}, npy("{'descr': '|u1', 'fortran_order': False, 'shape': (), }", 1));
  refused({"lacks one"}, npy("{'descr': '|u1', 'shape': (3,), }", 3));
  refused({"unknown or repeated", "'shape'"},
          npy("{'descr': '|u1', 'fortran_order': False, 'shape': (3,), 'shape': (3,), }", 3));
  refused({"malformed"}, npy("{'descr': [('a', '|u1')], 'fortran_order': False, 'shape': (3,), }", 3));
  refused({"a number expected"}, npy("{'descr': '|u1', 'fortran_order': False, 'shape': (-3,), }", 3));
  refused({"2^40"}, npy("{'descr': '|u1', 'fortran_order': False, 'shape': (99999999999999999999,), }", 3));
  refused({"2^44"}, npy("{'descr': '|u1', 'fortran_order': False, 'shape': (1000000000, 1000000000), }", 3));
  refused({"text after"}, npy("{'descr': '|u1', 'fortran_order': False, 'shape': (3,), } x", 3));
}

// Bytes changed, removed, inserted and cut off a few thousand times: an Error, or a header that fits the file.
TEST(Npy, MutatedHeadersThrowOrFit) {
  Random random(11);
  int fine = 0, refused = 0;
  for (int trial = 0; trial < 20000; ++trial) {
    Bytes bytes = npy(kDict, 36, 1 + static_cast<int>(random.below(3)));
    for (uint32_t edits = 1 + random.below(4); edits > 0 && !bytes.empty(); --edits) {
      const size_t at = random.below(2) ? random.below(80) : random.below(static_cast<uint32_t>(bytes.size()));
      const char* const letters = "{}()',: 0123456789TrueFalsedescrshape|<u1i48\x93";
      const uint8_t value = static_cast<uint8_t>(random.below(3) ? letters[random.below(45)] : random.below(256));
      switch (random.below(4)) {
        case 0: bytes.at(std::min(at, bytes.size() - 1)) = value; break;
        case 1: bytes.insert(bytes.begin() + static_cast<int64_t>(std::min(at, bytes.size())), value); break;
        case 2: bytes.erase(bytes.begin() + static_cast<int64_t>(std::min(at, bytes.size() - 1))); break;
        default: bytes.resize(std::max<size_t>(random.below(8) ? bytes.size() : at, 1)); break;
      }
    }
    try {
      const NpyHeader header = parse(bytes);
      int64_t values = 1;
      for (int64_t axis : header.shape) values *= axis;
      ASSERT_FALSE(header.shape.empty());
      ASSERT_EQ(values, header.values);
      ASSERT_EQ(header.data_at + values * header.item_bytes, static_cast<int64_t>(bytes.size()));
      ++fine;
    } catch (const Error& error) {
      ASSERT_EQ(error.kind, Kind::kEnvironment);
      ++refused;
    }
  }
  EXPECT_GT(refused, 10000);
  EXPECT_GT(fine, 100);  // edits of values and of padding
}

class NpyImages : public testing::Test {
 protected:
  NpyImages() {
    set.id = "tiny";
    set.channels = 3;
    set.height = set.width = 2;
    set.classes = 4;
    set.class_names = {"a", "b", "c", "d"};
    set.mean = {.5f, .5f, .5f};
    set.std = {1, 1, 1};
  }
  void labels(const std::string& type, const Bytes& values, int n = 3) {
    Bytes bytes = npy(cat("{'descr': '", type, "', 'fortran_order': False, 'shape': (", n, ",), }"), 0);
    bytes.insert(bytes.end(), values.begin(), values.end());
    write_plain(dir / "y.npy", bytes);
  }
  ImageSplit read(int64_t first = 0, int64_t count = -1) {
    return read_npy_images(dir / "x.npy", dir / "y.npy", set, first, count);
  }
  TemporaryDirectory dir;
  ImageDataset set;
};

TEST_F(NpyImages, ChannelsComeFirstAndLabelsOfEveryType) {
  write_plain(dir / "x.npy", npy(kDict, 36));
  labels("|u1", {2, 0, 3});
  EXPECT_EQ(read().labels, (std::vector<int32_t>{2, 0, 3}));
  labels("<i4", {2, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0});
  EXPECT_EQ(read().labels, (std::vector<int32_t>{2, 0, 3}));
  labels("<i8", Bytes(24, 0));
  EXPECT_EQ(read().labels, (std::vector<int32_t>{0, 0, 0}));
  EXPECT_EQ(read(1, 1).pixels, (Bytes{12, 15, 18, 21, 13, 16, 19, 22, 14, 17, 20, 23}));
  EXPECT_EQ(read(3, 0).count, 0);
}

TEST_F(NpyImages, WhatDoesNotFitIsNamed) {
  write_plain(dir / "x.npy", npy(kDict, 36));
  const auto refused = [&](const std::vector<std::string>& parts, int64_t first = 0, int64_t count = -1) {
    expect_error(Kind::kEnvironment, parts, [&] { read(first, count); });
  };
  refused({"cannot open", "y.npy"});
  labels("|u1", {1, 1}, 2);
  refused({"(2)", "(3)", "belong together"});
  labels("|u1", {1, 4, 1});
  refused({"label 4", "record 1", "[0, 4)"});
  labels("<i4", {1, 0, 0, 0, 255, 255, 255, 255, 1, 0, 0, 0});
  refused({"label -1", "record 1"});
  labels("|u1", {1, 1, 1});
  refused({"3 images", "2 to 4"}, 2, 2);
  set.height = 3;
  refused({"(3, 2, 2, 3)", "(N, 3, 2, 3)"});
  set.height = 2;
  write_plain(dir / "x.npy", npy("{'descr': '<i4', 'fortran_order': False, 'shape': (3, 2, 2, 3), }", 144));
  refused({"<i4", "|u1"});
}

TEST_F(NpyImages, ShiftedSetKeepsClassesAndNormalisation) {
  write_plain(dir / "x.npy", npy(kDict, 36));
  labels("|u1", {2, 0, 3});
  const ImageDataset shifted = load_shifted(set, "tiny.1", dir / "x.npy", dir / "y.npy", 2);
  EXPECT_EQ(shifted.test.count, 2);
  EXPECT_EQ(shifted.train.count, 0);
  EXPECT_EQ(shifted.class_names, set.class_names);
  EXPECT_EQ(shifted.mean, set.mean);
  EXPECT_EQ(shifted.sha256.size(), 64u);
}

// A set with a manifest is found by its id, and only for models of its classes; where it is missing it says how to get
// it.
TEST_F(NpyImages, ShiftedSetWithAManifest) {
  set.id = "cifar10";
  set.height = set.width = 32;
  set.classes = 10;
  set.class_names = read_manifest("cifar10").class_names;
  expect_error(Kind::kEnvironment, {"cifar10.1_v6_data.npy", "switchyard data fetch cifar10.1"},
               [&] { load_shifted(set, "cifar10.1", dir.path()); });
  labels("<i4", {2, 0, 0, 0, 9, 0, 0, 0}, 2);
  write_plain(dir / "cifar10.1/cifar10.1_v6_labels.npy", read_plain(dir / "y.npy"));
  write_plain(dir / "cifar10.1/cifar10.1_v6_data.npy",
              npy("{'descr': '|u1', 'fortran_order': False, 'shape': (2, 32, 32, 3), }", 2 * 3072));
  const ImageDataset shifted = load_shifted(set, "cifar10.1", dir.path());
  EXPECT_EQ(shifted.id, "cifar10.1");
  EXPECT_EQ(shifted.test.labels, (std::vector<int32_t>{2, 9}));
  EXPECT_EQ(load_shifted(set, "cifar10.1", dir.path(), 1).test.count, 1);
  set.class_names[3] = "dog";
  expect_error(Kind::kUsage, {"cifar10.1", "10 classes", "same classes"},
               [&] { load_shifted(set, "cifar10.1", dir.path()); });
}

}  // namespace
}  // namespace swy::data
