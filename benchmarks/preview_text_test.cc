#include "benchmarks/preview_text.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <fstream>
#include <sstream>

#include "core/base/error.h"
#include "data/noise/noise.h"

namespace swy::bench {
namespace {

class PreviewText : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (std::filesystem::temp_directory_path() / "switchyard_preview_XXXXXX").string();
    directory_ = mkdtemp(pattern.data());
    std::ofstream file(directory_ / "a.txt");
    for (int i = 0; i < 2000; ++i) file << "The caf\xC3\xA9 is well. Who knows?\nA line more.\n";
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  std::string preview(const std::string& noise, std::optional<double> rate) const {
    std::ostringstream out;
    preview_text(out, "text_file:a.txt", directory_, noise, rate);
    return out.str();
  }

  std::filesystem::path directory_;
};

// The lines that begin so, without the beginning.
std::vector<std::string> lines_of(const std::string& text, const std::string& beginning) {
  std::vector<std::string> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) {
    if (line.rfind(beginning, 0) == 0) lines.push_back(line.substr(beginning.size()));
  }
  return lines;
}

// Proves that the clean line is text of the set, that marks stand around what is new, and that without them and their
// content both lines agree where nothing was left out.
TEST_F(PreviewText, ShowsPlacesWithMarks) {
  const std::string text = preview("word_swap_unk", 0.2);
  const std::vector<std::string> clean = lines_of(text, "  - "), noisy = lines_of(text, "  + ");
  ASSERT_EQ(clean.size(), 3u);
  ASSERT_EQ(noisy.size(), 3u);
  for (size_t i = 0; i < clean.size(); ++i) {
    const size_t mark = noisy[i].find("[<unk>]");
    ASSERT_NE(mark, std::string::npos) << noisy[i];
    EXPECT_EQ(clean[i].substr(0, mark), noisy[i].substr(0, mark));
    EXPECT_EQ(clean[i].find('['), std::string::npos);
    EXPECT_NE(noisy[i].find("\xE2\x8F\x8E"), std::string::npos) << "ends of lines are shown";
  }
  EXPECT_NE(preview("typo_delete", 1).find("[]"), std::string::npos);
}

// Proves that all noises are there with their severities, sentences that move among them.
TEST_F(PreviewText, AllNoises) {
  const std::string text = preview("all", {});
  for (const data::Noise& noise : data::noises()) {
    const size_t at = text.find(noise.name + ": " + noise.doc);
    ASSERT_NE(at, std::string::npos) << noise.name;
    EXPECT_NE(text.find("  + ", at), std::string::npos) << noise.name;
  }
  EXPECT_FALSE(lines_of(preview("sentence_shuffle", 1), "  + ").empty());
}

// Proves that what is no noise, no rate and no text is refused.
TEST_F(PreviewText, WrongUseIsRefused) {
  const auto message = [&](const std::string& set, const std::string& noise, double rate) {
    std::ostringstream out;
    try {
      preview_text(out, set, directory_, noise, rate);
    } catch (const Error& e) {
      EXPECT_EQ(e.kind, Kind::kUsage);
      return std::string(e.what());
    }
    return std::string("no error");
  };
  EXPECT_NE(message("text_file:a.txt", "typo_swp", 0.1).find("did you mean 'typo_swap'"), std::string::npos);
  EXPECT_NE(message("text_file:a.txt", "ocr", 2).find("outside [0, 1]"), std::string::npos);
  EXPECT_NE(message("planted_grammar", "ocr", 0.1).find("no text"), std::string::npos);
}

}  // namespace
}  // namespace swy::bench
