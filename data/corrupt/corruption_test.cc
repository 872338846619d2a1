// What holds for every corruption: names, errors, purity, sizes, and growth with severity.
#include "data/corrupt/corruption.h"

#include <set>

#include "data/corrupt/sheet.h"
#include "data/corrupt/testing.h"
#include "data/planted.h"

namespace swy::data {
namespace {

TEST(Corruptions, FifteenMainThenFourExtra) {
  std::set<std::string> names;
  for (size_t i = 0; i < corruptions().size(); ++i) {
    EXPECT_EQ(corruptions()[i].extra, i >= 15) << corruptions()[i].name;
    names.insert(corruptions()[i].name);
  }
  EXPECT_EQ(names.size(), 19u);
  EXPECT_EQ(corruptions()[14].name, "jpeg_compression");
}

TEST(Corruptions, ErrorsSayWhatToDo) {
  expect_error(Kind::kUsage, {"'gausian_noise'", "did you mean 'gaussian_noise'", "saturate"},
               [] { find_corruption("gausian_noise"); });
  expect_error(Kind::kUsage, {"severity 0", "1..5"}, [] { check_corruptible(0, 3, 32, 32); });
  expect_error(Kind::kUsage, {"severity 6", "1..5"}, [] { check_corruptible(6, 3, 32, 32); });
  expect_error(Kind::kUsage, {"1 channel", "RGB"}, [] { check_corruptible(1, 1, 28, 28); });
  expect_error(Kind::kUsage, {"7x32", "8..1024"}, [] { check_corruptible(1, 3, 7, 32); });
  expect_error(Kind::kUsage, {"32x2000"}, [] { check_corruptible(1, 3, 32, 2000); });
}

TEST(Corruptions, ConstantsOfTheNearestPublishedSize) {
  EXPECT_EQ(scale_of(16, 16), Scale::kCifar);
  EXPECT_EQ(scale_of(32, 200), Scale::kCifar);
  EXPECT_EQ(scale_of(64, 64), Scale::kTinyImageNet);
  EXPECT_EQ(scale_of(224, 224), Scale::kImageNet);
}

// Image, corruption, severity and set each change the key; where a folder lies does not.
TEST(Corruptions, KeysDiffer) {
  std::set<uint64_t> keys;
  for (const char* set : {"cifar10", "cifar100"}) {
    for (const Corruption& c : corruptions()) {
      for (int severity = 1; severity <= 5; ++severity) {
        for (int image = 0; image < 20; ++image) keys.insert(corruption_key(set, image, c, severity));
      }
    }
  }
  EXPECT_EQ(keys.size(), size_t{2 * 19 * 5 * 20});
  const Corruption& fog = find_corruption("fog");
  EXPECT_EQ(corruption_key("image_folder:/a", 1, fog, 2), corruption_key("image_folder:b", 1, fog, 2));
}

// The same key gives the same bytes; another key others, wherever chance takes part.
TEST(Corruptions, AreFunctionsOfTheirKey) {
  const std::set<std::string> fixed = {"defocus_blur", "zoom_blur", "brightness",       "contrast",
                                       "pixelate",     "saturate",  "jpeg_compression", "gaussian_blur"};
  const Bytes in = scene(32, 32);
  for (const Corruption& c : corruptions()) {
    for (int severity = 1; severity <= 5; ++severity) {
      const Bytes once = corrupted(c.name, severity, in, 32, 32, 7);
      EXPECT_EQ(once, corrupted(c.name, severity, in, 32, 32, 7)) << c.name;
      EXPECT_EQ(once == corrupted(c.name, severity, in, 32, 32, 8), fixed.count(c.name) == 1) << c.name;
      EXPECT_NE(once, in) << c.name;
    }
  }
}

// Smallest, odd, oblong and large images, at the constants of all three scales; canaries behind the output.
TEST(Corruptions, EverySizeStaysInItsBuffer) {
  const int sizes[][2] = {{8, 8}, {8, 40}, {33, 47}, {64, 64}, {57, 130}, {224, 224}};
  for (const auto& size : sizes) {
    const Bytes in = scene(size[0], size[1]);
    for (const Corruption& c : corruptions()) {
      for (int severity : {1, 5}) {
        Bytes out(in.size() + 16, 0xA5);
        corrupt(c, severity, size[0], size[1], in.data(), 3, out.data());
        EXPECT_EQ(Bytes(out.end() - 16, out.end()), Bytes(16, 0xA5)) << c.name;
        out.resize(in.size());
        EXPECT_NE(out, in) << c.name << " at " << size[0] << "x" << size[1];
      }
    }
  }
}

// Where severity is the size of one effect, the error grows with it. (Glass and motion blur, snow, frost, elastic,
// spatter and saturate trade several constants; pixelate and JPEG depend on where edges meet their blocks.)
TEST(Corruptions, ErrorGrowsWithSeverity) {
  for (int side : {32, 64}) {
    const Bytes in = scene(side, side);
    for (const char* name : {"gaussian_noise", "shot_noise", "impulse_noise", "defocus_blur", "zoom_blur", "fog",
                             "brightness", "contrast", "speckle_noise", "gaussian_blur"}) {
      double before = 0;
      for (int severity = 1; severity <= 5; ++severity) {
        double error = 0;
        for (uint64_t key = 0; key < 20; ++key) error += mean_error(in, corrupted(name, severity, in, side, side, key));
        EXPECT_GT(error, before) << name << " " << severity << " at " << side;
        before = error;
      }
    }
  }
}

TEST(Sheet, IsAPngOfTheRightThings) {
  PlantedOptions planted;
  planted.train = 8;
  planted.test = 4;
  ImageDataset set = make_planted(planted);
  TemporaryDirectory dir;
  write_sheet(set, {{&find_corruption("fog"), &find_corruption("snow")}, {1, 5}, {0, 3}}, dir / "sheet.png");
  const Bytes png = read_plain(dir / "sheet.png");
  ASSERT_GT(png.size(), 100u);
  EXPECT_EQ(std::string(png.begin() + 1, png.begin() + 4), "PNG");
  expect_error(Kind::kUsage, {"no image 4", "4, counted from 0"}, [&] {
    write_sheet(set, {{}, {1}, {4}}, dir / "x.png");
  });
  expect_error(Kind::kUsage, {"severity 9"}, [&] {
    write_sheet(set, {{&find_corruption("fog")}, {9}, {0}}, dir / "x.png");
  });
  expect_error(Kind::kUsage, {"at least one image"}, [&] { write_sheet(set, {{}, {1}, {}}, dir / "x.png"); });
  EXPECT_FALSE(std::filesystem::exists(dir / "x.png"));
}

}  // namespace
}  // namespace swy::data
