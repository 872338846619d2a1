#include "data/noise/noisy_split.h"

#include <algorithm>
#include <map>
#include <set>

#include "core/base/philox.h"
#include "core/base/seed.h"
#include "data/testing.h"
#include "data/tokenizer.h"

namespace swy::data {
namespace {

const std::filesystem::path kReal = std::filesystem::path(SWITCHYARD_SOURCE_DIR) / "../shared/data";

// Lines of small words, so that text8 could read all but the ends of lines and sentences.
std::string lines(int count, bool unk) {
  const std::vector<std::string> words = {"the", "modern", "clever", "cat", "burns", "well", "a", "i", "dog", "lodge"};
  Random random(3);
  std::string text = unk ? "<unk> \n" : "";
  for (int i = 0; i < count; ++i) {
    text += words[random.below(static_cast<uint32_t>(words.size()))];
    text += random.below(8) ? " " : random.below(2) ? " . " : " .\n";
  }
  return text;
}

TextDataset set_of(const std::string& tokenizer, const std::string& text, int64_t test_limit = 0) {
  TemporaryDirectory dir;
  write_plain(dir / "a.txt", Bytes(text.begin(), text.end()));
  TextOptions options;
  options.tokenizer = tokenizer;
  options.test_limit = test_limit;
  return load_text("text_file:a.txt", dir.path(), options);
}

// The clean byte of every noisy one, -1 where the noise wrote it: the alignment in its plainest form.
std::vector<int64_t> source_bytes(const NoisyText& noisy) {
  std::vector<int64_t> source;
  for (const Piece& p : noisy.pieces) {
    for (int64_t i = p.begin; i < p.end; ++i)
      source.push_back(p.kind == PieceKind::kNew ? -1 : p.source_begin + i - p.begin);
  }
  return source;
}

// Proves for every tokenizer, noise and several rates, byte by byte, that the tokens marked unchanged are exactly those
// whose bytes are, in one run, the bytes of one clean token; and that these have its id.
TEST(NoisySplit, UnchangedTokensAreExactlyTheCopiedOnes) {
  for (const char* name : {"byte", "character", "word", "bpe-290"}) {
    for (int64_t limit : {0, 301}) {
      const TextDataset set = set_of(name, lines(40000, true), limit);
      const std::string clean = set.encoder->decode(set.test.token);
      const std::vector<TokenSpan> clean_spans = set.encoder->spans(clean, set.test.token);
      std::map<std::pair<int64_t, int64_t>, int64_t> clean_token;
      for (size_t i = 0; i < clean_spans.size(); ++i)
        clean_token[{clean_spans[i].begin, clean_spans[i].end}] = static_cast<int64_t>(i);
      for (const Noise& noise : noises()) {
        for (double rate : {0.0, 0.05, 1.0}) {
          SCOPED_TRACE(cat(name, " ", noise.name, " ", rate));
          const NoisySplit result = add_noise(set, set.test, noise, rate, 9);
          const uint64_t key = child_seed(purpose_seed(9, Purpose::kEvaluate), "text_file");
          const NoisyText text = apply(noise, rate, clean, key, [&](uint32_t c) { return set.encoder->covers(c); });
          const std::vector<int64_t> source = source_bytes(text);
          const size_t count = result.split.token.size();
          ASSERT_EQ(result.source.size(), count);
          ASSERT_EQ(result.unchanged.size(), count);
          EXPECT_EQ(result.edited, text.edited);
          std::vector<int32_t> ids = set.encoder->encode(text.text, "here");
          const std::vector<TokenSpan> spans = set.encoder->spans(text.text, ids);
          ASSERT_GE(ids.size(), count);
          double units = 0;
          for (size_t i = 0; i < count; ++i) {
            ASSERT_EQ(result.split.token[i], ids[i]);
            units += set.encoder->units_of(ids[i]);
            bool run = true;
            for (int64_t b = spans[i].begin; b < spans[i].end; ++b)
              run = run && source[b] >= 0 && source[b] == source[spans[i].begin] + b - spans[i].begin;
            const int64_t first = source[spans[i].begin];
            const auto found = clean_token.find({first, first + spans[i].end - spans[i].begin});
            const bool expected = run && found != clean_token.end() && set.test.token[found->second] == ids[i];
            ASSERT_EQ(result.unchanged[i] != 0, expected) << i;
            ASSERT_GE(result.source[i], 0);
            ASSERT_LT(result.source[i], static_cast<int64_t>(set.test.token.size()));
            if (expected) {
              ASSERT_EQ(result.source[i], found->second);
            }
          }
          EXPECT_EQ(result.split.units, units);
          if (rate == 0 && limit == 0) {
            EXPECT_EQ(result.split.token, set.test.token);
          }
        }
      }
    }
  }
}

// Proves that windows of the noisy tokens begin where those of the clean ones do, whatever was lost or inserted before:
// at the clean token itself where it is there, at the first one after it where it is not.
TEST(NoisySplit, WindowsBeginTogether) {
  const TextDataset set = set_of("byte", lines(20000, false));
  const auto clean = static_cast<int64_t>(set.test.token.size());
  for (const char* name : {"typo_delete", "typo_insert", "typo_keyboard"}) {
    const NoisySplit noisy = add_noise(set, set.test, find_noise(name), 0.05, 0);
    const std::vector<int64_t> starts = window_starts(noisy, clean, 64);
    ASSERT_EQ(static_cast<int64_t>(starts.size()), (clean + 63) / 64);
    int64_t exact = 0;
    for (size_t w = 0; w < starts.size(); ++w) {
      const int64_t wanted = static_cast<int64_t>(w) * 64, at = starts[w];
      for (int64_t i = 0; i < at; ++i) ASSERT_LT(noisy.source[i], wanted);
      for (int64_t i = at; i < static_cast<int64_t>(noisy.source.size()); ++i) ASSERT_GE(noisy.source[i], wanted);
      exact += noisy.source[at] == wanted;
    }
    EXPECT_GE(exact, static_cast<int64_t>(starts.size()) * 8 / 10) << name;
  }
  EXPECT_EQ(window_starts({}, 0, 64), std::vector<int64_t>{});
  EXPECT_EQ(window_starts({}, 65, 64), (std::vector<int64_t>{0, 0}));  // every token was deleted
  expect_error(Kind::kUsage, {"stride 0"}, [] { window_starts({}, 0, 0); });
}

// Proves a word-level example by hand: 1:1, <eos> untouched, swapped words <unk>, and typos that become <unk>.
TEST(NoisySplit, WordsByHand) {
  TextDataset set = set_of("word", lines(4000, true));
  TextSplit clean;
  clean.token = set.encoder->encode("the cat\nburns well", "here");
  clean.token.pop_back();  // as where a limit cuts a line: no <eos>
  const int32_t unk = set.encoder->encode("<unk>", "here")[0], eos = clean.token[2];
  const NoisySplit swapped = add_noise(set, clean, find_noise("word_swap_unk"), 1, 0);
  EXPECT_EQ(swapped.split.token, (std::vector<int32_t>{unk, unk, eos, unk, unk}));
  EXPECT_EQ(swapped.unchanged, (std::vector<uint8_t>{0, 0, 1, 0, 0}));
  EXPECT_EQ(swapped.source, (std::vector<int64_t>{0, 1, 2, 3, 4}));
  EXPECT_EQ(swapped.sites, 4);
  const NoisySplit gone = add_noise(set, clean, find_noise("typo_delete"), 1, 0);
  EXPECT_EQ(gone.split.token, std::vector<int32_t>{eos});
  EXPECT_EQ(gone.unchanged, std::vector<uint8_t>{1});
  EXPECT_EQ(gone.source, std::vector<int64_t>{2});
  clean.token.clear();
  EXPECT_TRUE(add_noise(set, clean, find_noise("typo_delete"), 1, 0).split.token.empty());
}

// Proves that losses of uncorrupted bytes can be told: as many bytes are unchanged as were not written anew.
TEST(NoisySplit, CountsOfBytes) {
  const TextDataset set = set_of("byte", lines(40000, false));
  const auto clean = static_cast<int64_t>(set.test.token.size());
  const auto unchanged = [&](const NoisySplit& n) {
    return std::count(n.unchanged.begin(), n.unchanged.end(), uint8_t{1});
  };
  const NoisySplit deleted = add_noise(set, set.test, find_noise("typo_delete"), 0.05, 0);
  EXPECT_EQ(unchanged(deleted), clean - deleted.edited);
  EXPECT_EQ(static_cast<int64_t>(deleted.split.token.size()), clean - deleted.edited);
  const NoisySplit inserted = add_noise(set, set.test, find_noise("typo_insert"), 0.05, 0);
  EXPECT_EQ(unchanged(inserted), clean);
  const NoisySplit swapped = add_noise(set, set.test, find_noise("typo_swap"), 0.05, 0);
  EXPECT_EQ(unchanged(swapped), clean - 2 * swapped.edited);
  const NoisySplit shuffled = add_noise(set, set.test, find_noise("sentence_shuffle"), 1, 0);
  EXPECT_EQ(unchanged(shuffled), clean);
  EXPECT_NE(shuffled.split.token, set.test.token);
  EXPECT_EQ(std::set<int64_t>(shuffled.source.begin(), shuffled.source.end()).size(), shuffled.source.size());
}

// Proves that planted tokens can be swapped, with their cluster kept, and that noises with no words there are refused;
// so are they for words without <unk>.
TEST(NoisySplit, PlantedAndClosedVocabularies) {
  const TextDataset planted = load_text("planted_grammar", "");
  const NoisySplit swapped = add_noise(planted, planted.test, find_noise("word_swap_sample"), 0.1, 0);
  ASSERT_EQ(swapped.split.token.size(), planted.test.token.size());
  EXPECT_EQ(swapped.split.cluster, planted.test.cluster);
  int64_t changed = 0;
  for (size_t i = 0; i < swapped.source.size(); ++i) {
    ASSERT_EQ(swapped.source[i], static_cast<int64_t>(i));
    ASSERT_EQ(swapped.unchanged[i] != 0, swapped.split.token[i] == planted.test.token[i]);
    changed += !swapped.unchanged[i];
  }
  EXPECT_EQ(changed, swapped.edited);
  EXPECT_GT(changed, 0);
  std::string letters;  // words of one letter: no cut between splits makes another
  for (int i = 0; i < 4000; ++i) letters += i % 3 ? "a " : i % 7 ? "b " : ".\n";
  const TextDataset closed = set_of("word", letters);
  for (const TextDataset* set : {&planted, &closed}) {
    for (const Noise& noise : noises()) {
      EXPECT_EQ(applies(noise, *set), noise.name == "word_swap_sample" || noise.name == "sentence_shuffle");
      if (applies(noise, *set)) continue;
      expect_error(Kind::kUsage, {noise.name, set->id, "no <unk>"}, [&] { add_noise(*set, set->test, noise, 0.1, 0); });
    }
    EXPECT_NO_THROW(add_noise(*set, set->test, find_noise("sentence_shuffle"), 1, 0));
  }
  const TextDataset open = set_of("word", lines(4000, true));
  for (const Noise& noise : noises()) EXPECT_TRUE(applies(noise, open));
}

// Proves, on real text, that every noise has sites or says that it has none, and stays within the vocabulary.
TEST(NoisySplit, RealText) {
  if (!std::filesystem::is_directory(kReal / "text")) GTEST_SKIP() << "no real data in " << kReal;
  for (const char* id : {"tinyshakespeare", "enwiki_sample"}) {
    const TextDataset set = load_text(id, kReal);
    for (const Noise& noise : noises()) {
      const NoisySplit result = add_noise(set, set.valid, noise, noise.rates.back(), 0);
      EXPECT_GT(result.edited, 0) << id << " " << noise.name;
      int64_t wrong = 0;
      for (size_t i = 0; i < result.source.size(); ++i)
        wrong += result.unchanged[i] && result.split.token[i] != set.valid.token[result.source[i]];
      EXPECT_EQ(wrong, 0) << id << " " << noise.name;
    }
  }
}

}  // namespace
}  // namespace swy::data
