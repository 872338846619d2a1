#include "data/bpe.h"

#include <algorithm>
#include <fstream>
#include <map>

#include "core/base/hash.h"
#include "core/base/philox.h"
#include "data/archive.h"
#include "data/testing.h"

namespace swy::data {
namespace {

const std::filesystem::path kReal = std::filesystem::path(SWITCHYARD_SOURCE_DIR) / "../shared/data";

std::vector<std::string> words(const std::string& text) {
  std::vector<std::string> list;
  for_bpe_words(text, [&](std::string_view word) {
    list.emplace_back(word);
    return true;
  });
  return list;
}

Bytes bytes(const std::string& text) { return Bytes(text.begin(), text.end()); }

// A text of words of a small alphabet, so that pairs repeat and counts tie.
std::string babble(int count, uint64_t seed) {
  Random random(seed);
  std::string text;
  for (int i = 0; i < count; ++i) {
    for (uint32_t n = 1 + random.below(7); n > 0; --n) text += static_cast<char>('a' + random.below(4));
    text += random.below(5) ? " " : "\n";
  }
  return text;
}

// The definition, as slow as it reads: counts of all pairs after each merge from the start.
std::vector<std::pair<std::string, std::string>> slow_train(const std::string& text, int merges) {
  std::vector<std::string> token;  // by id
  for (int b = 0; b < 256; ++b) token.emplace_back(1, static_cast<char>(b));
  std::vector<std::vector<int>> list;
  for (const std::string& word : words(text)) {
    list.emplace_back();
    for (char c : word) list.back().push_back(static_cast<uint8_t>(c));
  }
  std::vector<std::pair<std::string, std::string>> learnt;
  for (int m = 0; m < merges; ++m) {
    std::map<std::pair<int, int>, int> counts;
    for (const auto& word : list) {
      for (size_t i = 0; i + 1 < word.size(); ++i) ++counts[{word[i], word[i + 1]}];
    }
    // max_element gives the first of equals: the smallest pair of ids.
    const auto best = std::max_element(counts.begin(), counts.end(), [](const auto& a, const auto& b) {
                        return a.second < b.second;
                      })->first;
    learnt.emplace_back(token[best.first], token[best.second]);
    token.push_back(token[best.first] + token[best.second]);
    for (auto& word : list) {
      for (size_t i = 0; i + 1 < word.size(); ++i) {
        if (word[i] != best.first || word[i + 1] != best.second) continue;
        word[i] = static_cast<int>(token.size()) - 1;
        word.erase(word.begin() + static_cast<std::ptrdiff_t>(i) + 1);
      }
    }
  }
  return learnt;
}

// The definition: all occurrences of the pair of lowest rank joined, until no pair has a rank.
std::vector<std::string> slow_encode(const Bpe& bpe, const std::string& text) {
  std::vector<std::string> all;
  for (const std::string& word : words(text)) {
    std::vector<std::string> parts;
    for (char c : word) parts.emplace_back(1, c);
    for (const BpePair& merge : bpe.merges()) {
      const std::string &left = bpe.texts()[merge.left], &right = bpe.texts()[merge.right];
      for (size_t i = 0; i + 1 < parts.size(); ++i) {
        if (parts[i] != left || parts[i + 1] != right) continue;
        parts[i] += right;
        parts.erase(parts.begin() + static_cast<std::ptrdiff_t>(i) + 1);
      }
    }
    all.insert(all.end(), parts.begin(), parts.end());
  }
  return all;
}

// Proves the words of GPT-2's pattern case by case (expected values worked out from the pattern by hand and confirmed
// with an independent regular-expression engine).
TEST(BpeWords, FollowThePattern) {
  using List = std::vector<std::string>;
  EXPECT_EQ(words("Hello world"), (List{"Hello", " world"}));
  EXPECT_EQ(words("it's we'll I'D 'tis"), (List{"it", "'s", " we", "'ll", " I", "'", "D", " '", "tis"}));
  EXPECT_EQ(words("''s"), (List{"''", "s"}));
  EXPECT_EQ(words("a  b"), (List{"a", " ", " b"}));
  EXPECT_EQ(words("a\n\n b"), (List{"a", "\n\n", " b"}));
  EXPECT_EQ(words("a\nb"), (List{"a", "\n", "b"}));
  EXPECT_EQ(words("a \n"), (List{"a", " \n"}));
  EXPECT_EQ(words("x12.5e3"), (List{"x", "12", ".", "5", "e", "3"}));
  EXPECT_EQ(words("  \t!?"), (List{"  ", "\t", "!?"}));
  EXPECT_EQ(words("na\xC3\xAFve \xE2\x82\xAC"
                  "5"),
            (List{"na\xC3\xAFve", " \xE2\x82\xAC", "5"}));
  EXPECT_EQ(words("a\xC2\xA0"
                  "b"),
            (List{"a", "\xC2\xA0", "b"}));
  EXPECT_EQ(words("a\xFF\xFE"
                  "b"),
            (List{"a", "\xFF\xFE", "b"}));
  EXPECT_EQ(words(" "), (List{" "}));
  EXPECT_EQ(words(""), List{});
}

// Proves that the incremental learner finds the pairs of the plain definition, ties and repeated symbols (aaa)
// included.
TEST(Bpe, LearnsWhatTheDefinitionDoes) {
  for (uint64_t seed : {1, 2, 3}) {
    const std::string text = babble(300, seed) + " aaaaaaa aaaaaa aaa bababab";
    const auto bpe = Bpe::train(text, 60);
    std::vector<std::pair<std::string, std::string>> learnt;
    for (const BpePair& pair : bpe->merges()) learnt.emplace_back(bpe->texts()[pair.left], bpe->texts()[pair.right]);
    EXPECT_EQ(learnt, slow_train(text, 60));
    EXPECT_EQ(bpe->vocabulary(), 316);
    EXPECT_EQ(bpe->name(), "bpe-316");
  }
}

// Proves that the heap encodes as the plain definition does, on text it has seen and text it has not.
TEST(Bpe, EncodesWhatTheDefinitionDoes) {
  const auto bpe = Bpe::train(babble(400, 4), 80);
  for (const std::string& text :
       {babble(200, 4), babble(200, 5), std::string("aaaaaaaaaaaaaaaaaaaaa zz \xFF"), std::string()}) {
    std::vector<std::string> parts;
    for (int32_t id : bpe->encode(text)) parts.push_back(bpe->texts()[id]);
    EXPECT_EQ(parts, slow_encode(*bpe, text));
  }
}

// Proves that any bytes come back, that the units are their number, and that a limit takes the first tokens.
TEST(Bpe, RandomBytesComeBack) {
  const auto bpe = Bpe::train(babble(500, 6), 100);
  Random random(7);
  for (int n : {1, 2, 3, 100, 20000}) {
    std::string text;
    for (int i = 0; i < n; ++i) text += static_cast<char>(random.below(3) ? 'a' + random.below(4) : random.below(256));
    const std::vector<int32_t> ids = bpe->encode(text);
    EXPECT_EQ(bpe->decode(ids), text);
    double units = 0;
    for (int32_t id : ids) units += bpe->units_of(id);
    EXPECT_EQ(units, n);
    const std::vector<int32_t> front = bpe->encode(text, "", 5);
    EXPECT_TRUE(front.size() == std::min<size_t>(5, ids.size()) && std::equal(front.begin(), front.end(), ids.begin()));
  }
  expect_error(Kind::kUsage, {"token 356", "[0, 356)"}, [&] { bpe->decode({356}); });
}

// Proves that a word of a megabyte without any space comes back; at n^2, one search per join, this would take hours.
TEST(Bpe, LongWordsAreNotQuadratic) {
  const auto bpe = Bpe::train(babble(500, 8), 200);
  std::string text;
  Random random(9);
  for (int i = 0; i < 1000000; ++i) text += static_cast<char>('a' + random.below(4));
  EXPECT_EQ(bpe->decode(bpe->encode(text)), text);
}

// Proves that what was written reads back as the same tokenizer, plain or packed, and that the files are GPT-2's form.
TEST(Bpe, FilesRoundTrip) {
  TemporaryDirectory dir;
  const std::string text = babble(300, 10) + "\xC3\xA9\xC3\xA9 \xC3\xA9\xC3\xA9\t\t";
  const auto bpe = Bpe::train(text, 50);
  bpe->write(dir / "bpe");
  const auto back = Bpe::read(dir / "bpe", "again");
  EXPECT_EQ(back->texts(), bpe->texts());
  EXPECT_EQ(back->encode(text), bpe->encode(text));
  const Bytes merges = read_plain(dir / "bpe/merges.txt");
  EXPECT_EQ(std::string(merges.begin(), merges.begin() + 14), "#version: 0.2\n");
  write_packed(dir / "packed/merges.txt.xz", {{"m", merges}}, false);
  write_packed(dir / "packed/vocab.json.gz", {{"v", read_plain(dir / "bpe/vocab.json")}}, false);
  const auto named = make_tokenizer("bpe:packed", "", dir.path());
  EXPECT_EQ(named->encode(text, ""), bpe->encode(text));
  EXPECT_EQ(named->name(), "bpe:packed");
}

// Proves that damaged files are refused, each with the file, the line and the reason.
TEST(Bpe, BadFilesAreNamed) {
  TemporaryDirectory dir;
  expect_error(Kind::kEnvironment, {"cannot find 'vocab.json'"}, [&] { Bpe::read(dir / "none", "x"); });
  Bpe::train("ab ab abc abc", 2)->write(dir / "a");
  const Bytes vocab = read_plain(dir / "a/vocab.json");
  const auto with_merges = [&](const std::string& lines, const std::vector<std::string>& parts) {
    write_plain(dir / "a/merges.txt", bytes(lines));
    std::vector<std::string> all = {"merges.txt"};
    all.insert(all.end(), parts.begin(), parts.end());
    expect_error(Kind::kEnvironment, all, [&] { Bpe::read(dir / "a", "x"); });
  };
  with_merges("#version: 0.2\na b\nab\n", {"line 3 'ab'", "not two tokens"});
  with_merges("a b c\n", {"line 1", "not two tokens"});
  with_merges(
      "a b\na q\xC3\xBF"
      "zz\n",
      {"line 2", "is not in the vocabulary"});
  with_merges("ab c\na b\n", {"line 1", "not made by an earlier line"});
  with_merges("a b\na b\n", {"line 2", "there before"});
  const auto with_vocab = [&](const std::string& text, const std::string& part) {
    write_plain(dir / "a/vocab.json", bytes(text));
    expect_error(Kind::kEnvironment, {"vocab.json", part}, [&] { Bpe::read(dir / "a", "x"); });
  };
  with_vocab("{\"a\": 0", "parse");
  with_vocab("{\"a\": 0, \"b\": 5}", "outside");
  with_vocab("{\"a\": 0, \"b\": 0}", "given twice");
  with_vocab("{\"a\": 0, \"b\": 1}", "no token for byte 0");
  with_vocab("{\"a\": \"x\"}", "type");
}

// Proves, with the published files and text, that encoding is GPT-2's: the ids of a sentence, and number and hash of
// the ids of 1.1 MB of Shakespeare and 6 MB of Wikipedia markup as an independent implementation gives them.
TEST(RealBpe, Gpt2) {
  if (!std::filesystem::is_directory(kReal / "tokenizer")) GTEST_SKIP() << "no real data in " << kReal;
  const auto gpt2 = make_tokenizer("gpt2", "", kReal);
  EXPECT_EQ(gpt2->vocabulary(), 50257);
  EXPECT_EQ(gpt2->texts()[50256], "<|endoftext|>");
  EXPECT_EQ(gpt2->encode("Hello world", ""), (std::vector<int32_t>{15496, 995}));
  const auto digest = [&](const char* file) {
    const Bytes content = read_unpacked(kReal / file);
    const std::vector<int32_t> ids =
        gpt2->encode({reinterpret_cast<const char*>(content.data()), content.size()}, file);
    return cat(ids.size(), " ", sha256_hex(ids.data(), ids.size() * sizeof(int32_t)));
  };
  EXPECT_EQ(digest("text/tinyshakespeare/input.txt.xz"),
            "338025 0c00ab83dc7f46665805762aa7688fb7852f03f28c4a5d84061871e85ea7c815");
  EXPECT_EQ(digest("text/enwiki-sample/enwiki-sample.xml.xz"),
            "1859757 17ff7330d369cf53c4c4ffe54070b9f5f9ff02030a72595b053a05016799b1bc");
}

}  // namespace
}  // namespace swy::data
