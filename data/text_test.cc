#include "data/text.h"

#include <cmath>

#include "data/archive.h"
#include "data/fetch.h"
#include "data/manifest.h"
#include "data/testing.h"
#include "data/tokenizer.h"

namespace swy::data {
namespace {

const std::filesystem::path kReal = std::filesystem::path(SWITCHYARD_SOURCE_DIR) / "../shared/data";

Bytes bytes(const std::string& text) { return Bytes(text.begin(), text.end()); }

std::string text_of(const TextDataset& set, const TextSplit& split) {
  std::string text;
  for (int32_t token : split.token) text += set.token_text(token);
  return text;
}

// Proves that an unknown id or tokenizer lists the known ones, and that bad limits are refused.
TEST(Text, UnknownIdTokenizerAndLimitsAreRefused) {
  expect_error(Kind::kUsage, {"unknown text set 'enwik7'", "enwik8", "planted_grammar", "text_file:PATH"},
               [] { load_text("enwik7", "."); });
  TemporaryDirectory dir;
  write_plain(dir / "a.txt", bytes("some text of many words, long enough to be cut in three"));
  TextOptions options;
  options.tokenizer = "letters";
  expect_error(Kind::kUsage, {"unknown tokenizer 'letters'", "byte text8 character word"},
               [&] { load_text("text_file:a.txt", dir.path(), options); });
  options.valid_limit = -1;
  expect_error(Kind::kUsage, {"valid_limit -1"}, [&] { load_text("planted_grammar", "", options); });
}

// Proves that the splits of a file are its 90, 5 and 5 percent in order, nothing lost, and that a cut does not fall
// inside a character.
TEST(Text, OwnSplitIsByPosition) {
  TemporaryDirectory dir;
  std::string text;
  for (int i = 0; i < 333; ++i) text += "a\xC3\xA9";  // 999 bytes; byte 899 = 90 % is inside a character
  write_plain(dir / "a.txt", bytes(text));
  const TextDataset set = load_text("text_file:a.txt", dir.path());
  EXPECT_EQ(set.split, "90/5/5 % by position, own");
  EXPECT_EQ(set.unit, "byte");
  EXPECT_EQ(set.train.token.size(), 900u);
  EXPECT_EQ(set.valid.token.size(), 49u);  // 949 = 95 % of 999
  EXPECT_EQ(set.test.token.size(), 50u);
  EXPECT_EQ(text_of(set, set.train) + text_of(set, set.valid) + text_of(set, set.test), text);
  TextOptions options;
  options.tokenizer = "character";
  const TextDataset characters = load_text("text_file:" + (dir / "a.txt").string(), "", options);
  EXPECT_EQ(characters.vocabulary, 2);
  EXPECT_EQ(characters.train.token.size(), 600u);
  EXPECT_EQ(characters.train.units, 600);
}

// Proves that plain, .gz and .xz are the same set, and that limits cut the front of each split and change the hash.
TEST(Text, PackedFilesAreTheSameSet) {
  TemporaryDirectory dir;
  std::string text;
  for (int i = 0; i < 400; ++i) text += cat("line ", i, "\n");
  write_plain(dir / "a.txt", bytes(text));
  write_packed(dir / "b.txt.gz", {{"b", bytes(text)}}, false);
  write_packed(dir / "c.txt.xz", {{"c", bytes(text)}}, false);
  const TextDataset plain = load_text("text_file:a.txt", dir.path());
  for (const char* name : {"text_file:b.txt.gz", "text_file:c.txt.xz"}) {
    const TextDataset packed = load_text(name, dir.path());
    EXPECT_EQ(packed.sha256, plain.sha256);
    EXPECT_EQ(packed.test.token, plain.test.token);
  }
  TextOptions options;
  options.train_limit = 100;
  options.valid_limit = 7;
  const TextDataset front = load_text("text_file:a.txt", dir.path(), options);
  EXPECT_EQ(text_of(front, front.train), text.substr(0, 100));
  EXPECT_EQ(front.valid.token.size(), 7u);
  EXPECT_EQ(front.valid.units, 7);
  EXPECT_EQ(front.test.token, plain.test.token);
  EXPECT_NE(front.sha256, plain.sha256);
}

// Proves that another text goes through the tokenizer of a set: the same ids for the same text, <unk> for words that
// it does not have, all of a file or its first tokens, the test split of a set; and that what is not covered is named.
TEST(Text, AnotherDomainThroughTheSameTokenizer) {
  TemporaryDirectory dir;
  std::string text = "<unk>\n";
  for (int i = 0; i < 100; ++i) text += "the cat sat\n";
  write_plain(dir / "a.txt", bytes(text));
  write_packed(dir / "b.txt.gz", {{"b", bytes("the dog sat\n")}}, false);
  TextOptions options;
  options.tokenizer = "word";
  const TextDataset words = load_text("text_file:a.txt", dir.path(), options);
  const TextSplit shifted = load_shifted(words, "text_file:b.txt.gz", dir.path());
  std::string read;
  for (int32_t id : shifted.token) read += words.token_text(id) + " ";
  EXPECT_EQ(read, "the <unk> sat <eos> ");
  EXPECT_EQ(shifted.units, 4);
  EXPECT_EQ(load_shifted(words, "text_file:b.txt.gz", dir.path(), 3).token.size(), 3u);
  options.tokenizer = "character";
  const TextDataset characters = load_text("text_file:a.txt", dir.path(), options);
  expect_error(Kind::kUsage, {"character 'd' (byte 4 of", "b.txt.gz", "not in the train split"},
               [&] { load_shifted(characters, "text_file:b.txt.gz", dir.path()); });
  EXPECT_EQ(load_shifted(characters, "text_file:a.txt", dir.path()).token.size(), text.size());
  const TextDataset planted = load_text("planted_grammar", "");
  expect_error(Kind::kUsage, {"stand for no text"}, [&] { load_shifted(planted, "text_file:a.txt", dir.path()); });
  expect_error(Kind::kUsage, {"stand for no text"}, [&] { load_shifted(words, "planted_grammar", dir.path()); });
  expect_error(Kind::kUsage, {"unknown text set 'enwik7'"}, [&] { load_shifted(words, "enwik7", dir.path()); });
  expect_error(Kind::kUsage, {"limit -1"}, [&] { load_shifted(words, "text_file:a.txt", dir.path(), -1); });
  expect_error(Kind::kEnvironment, {"missing file"}, [&] { load_shifted(words, "text_file:no.txt", dir.path()); });
}

// Proves that a missing file, a missing part, a file of the wrong size and an empty one each say what and where.
TEST(Text, BadFilesAreNamed) {
  TemporaryDirectory dir;
  expect_error(Kind::kEnvironment, {"missing file", "no.txt"}, [&] { load_text("text_file:no.txt", dir.path()); });
  expect_error(Kind::kEnvironment, {"cannot find file 'enwik8'", "text/enwik8/enwik8.xz", "data fetch enwik8"},
               [&] { load_text("enwik8", dir.path()); });
  write_plain(dir / "text/enwik8/enwik8", bytes("short"));
  expect_error(Kind::kEnvironment, {"5 bytes", "100000000", "data verify enwik8", "text_file:"},
               [&] { load_text("enwik8", dir.path()); });
  write_plain(dir / "empty.txt", {});
  expect_error(Kind::kEnvironment, {"split train", "0 tokens"}, [&] { load_text("text_file:empty.txt", dir.path()); });
  const TextDataset set = load_text("planted_grammar", "");
  expect_error(Kind::kUsage, {"token 128", "[0, 128)"}, [&] { set.token_text(128); });
}

// Proves that a manifest of a text has a tokenizer and splits that fit into its files: three files, or one cut by
// position.
TEST(Text, EveryManifestIsConsistent) {
  for (const std::string& id : text_ids()) {
    const Manifest m = read_manifest(id);
    EXPECT_EQ(m.id, id);
    EXPECT_FALSE(m.title.empty() || m.licence.empty() || m.citation.empty() || m.split.empty()) << id;
    if (m.format == "generated") continue;
    EXPECT_EQ(m.format, "text") << id;
    for (const ManifestFile& f : m.files) EXPECT_TRUE(f.sha256.empty() || f.sha256.size() == 64) << f.name;
    for (const ManifestDownload& d : m.downloads) EXPECT_EQ(d.sha256.size(), 64u) << d.url;
    if (m.files.size() == 1) {
      EXPECT_LE(m.train + m.valid, m.files[0].bytes) << id;
      EXPECT_LE(m.train, m.files[0].bytes - m.test) << id;
    } else {
      ASSERT_EQ(m.files.size(), 3u) << id;
      EXPECT_EQ(m.files[0].bytes, m.train) << id;
      EXPECT_EQ(m.files[1].bytes, m.valid) << id;
      EXPECT_EQ(m.files[2].bytes, m.test) << id;
    }
  }
}

// Proves that the generated set has the sizes its manifest states.
TEST(Text, GrammarManifestMatchesTheDefaults) {
  const Manifest m = read_manifest("planted_grammar");
  const GrammarOptions o;
  EXPECT_EQ(m.train, o.train);
  EXPECT_EQ(m.valid, o.valid);
  EXPECT_EQ(m.test, o.test);
}

// Proves, on the real file, nanoGPT's setting: 65 characters, 1,003,854 to train on and 111,540 to validate, and that
// the characters are the bytes of the file.
TEST(RealText, TinyShakespeare) {
  if (!std::filesystem::is_directory(kReal / "text")) GTEST_SKIP() << "no real data in " << kReal;
  const TextDataset set = load_text("tinyshakespeare", kReal);
  EXPECT_EQ(set.vocabulary, 65);
  EXPECT_EQ(set.unit, "character");
  EXPECT_EQ(set.train.token.size(), 1003854u);
  EXPECT_EQ(set.valid.token.size(), 111540u);
  EXPECT_EQ(set.test.token, set.valid.token);
  EXPECT_EQ(set.token_text(0), "\n");
  EXPECT_EQ(text_of(set, set.train).substr(0, 14), "First Citizen:");
}

// Proves, on the real file, that the three splits of the sample are the rule of own splits and give the file again.
TEST(RealText, EnwikiSample) {
  if (!std::filesystem::is_directory(kReal / "text")) GTEST_SKIP() << "no real data in " << kReal;
  const TextDataset set = load_text("enwiki_sample", kReal);
  const TextDataset own = load_text("text_file:text/enwiki-sample/enwiki-sample.xml.xz", kReal);
  EXPECT_EQ(set.vocabulary, 256);
  EXPECT_EQ(set.train.token.size() + set.valid.token.size() + set.test.token.size(), 6089746u);
  EXPECT_EQ(set.sha256, own.sha256);
  EXPECT_EQ(set.valid.units, 304487);
}

// Proves, on real files, that a model of one set can be evaluated on another: the test split, through bytes.
TEST(RealText, AnotherDomain) {
  if (!std::filesystem::is_directory(kReal / "text")) GTEST_SKIP() << "no real data in " << kReal;
  const TextDataset set = load_text("enwiki_sample", kReal);
  EXPECT_EQ(load_shifted(set, "tinyshakespeare", kReal).token.size(), 111540u);
  EXPECT_EQ(load_shifted(set, "enwiki_sample", kReal, 1000).token,
            std::vector<int32_t>(set.test.token.begin(), set.test.token.begin() + 1000));
  expect_error(Kind::kUsage, {"not in the train split", "enwiki-sample"},
               [&] { load_shifted(load_text("tinyshakespeare", kReal), "enwiki_sample", kReal); });
}

// Proves that the real files here are those of the manifests, byte for byte, and that what WikiText-2 lacks is named.
TEST(RealText, FilesMatchTheManifests) {
  if (!std::filesystem::is_directory(kReal / "text")) GTEST_SKIP() << "no real data in " << kReal;
  for (const char* id : {"tinyshakespeare", "enwiki_sample"}) {
    for (const FileCheck& check : verify(read_manifest(id), kReal)) {
      EXPECT_EQ(check.state, FileState::kOk) << check.name << ": " << check.detail;
    }
  }
  if (std::filesystem::exists(kReal / "text/wikitext-2/train.txt.xz")) GTEST_SKIP() << "WikiText-2 is whole here";
  EXPECT_EQ(verify(read_manifest("wikitext2"), kReal).at(1).state, FileState::kOk);
  EXPECT_EQ(verify(read_manifest("wikitext2"), kReal).at(2).state, FileState::kOk);
  expect_error(Kind::kEnvironment, {"cannot find file 'train.txt' of data set 'wikitext2'", "get it from"},
               [] { load_text("wikitext2", kReal); });
}

// Proves, on the real files, that words are counted as in the published tables: 217,646 and 245,569.
TEST(RealText, WikiText2HasThePublishedNumberOfWords) {
  if (!std::filesystem::is_directory(kReal / "text")) GTEST_SKIP() << "no real data in " << kReal;
  for (const auto& [name, count] : {std::pair{"valid.txt.xz", 217646u}, {"test.txt.xz", 245569u}}) {
    const Bytes content = read_unpacked(kReal / "text/wikitext-2" / name);
    const std::string_view text(reinterpret_cast<const char*>(content.data()), content.size());
    EXPECT_EQ(word_tokenizer(text)->encode(text, name).size(), count);
  }
}

}  // namespace
}  // namespace swy::data
