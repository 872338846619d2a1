#include "data/tokenizer.h"

#include "data/testing.h"
#include "data/utf8.h"

namespace swy::data {
namespace {

using Ids = std::vector<int32_t>;

std::string joined(const Tokenizer& tokenizer, const Ids& ids) {
  std::string text;
  for (int32_t id : ids) text += tokenizer.texts().at(static_cast<size_t>(id));
  return text;
}

// Proves that bytes are their own ids, all 256 of them, and that a limit takes the first ones.
TEST(Tokenizer, Bytes) {
  const auto tokenizer = byte_tokenizer();
  EXPECT_EQ(tokenizer->vocabulary(), 256);
  std::string all;
  for (int b = 255; b >= 0; --b) all += static_cast<char>(b);
  const Ids ids = tokenizer->encode(all, "here");
  EXPECT_EQ(ids.front(), 255);
  EXPECT_EQ(joined(*tokenizer, ids), all);
  EXPECT_EQ(tokenizer->encode("abc", "here", 2), (Ids{97, 98}));
  EXPECT_EQ(tokenizer->encode("", "here"), Ids{});
}

// Proves that text8 has 27 symbols and that anything else is refused with its place.
TEST(Tokenizer, Text8) {
  const auto tokenizer = text8_tokenizer();
  EXPECT_EQ(tokenizer->vocabulary(), 27);
  EXPECT_EQ(tokenizer->unit(), "character");
  EXPECT_EQ(tokenizer->encode(" az", "here"), (Ids{0, 1, 26}));
  expect_error(Kind::kUsage, {"'text8'", "27 characters", "'A'", "byte 3 of split valid", "tokenizer byte"},
               [&] { tokenizer->encode("abcA", "split valid"); });
  expect_error(Kind::kUsage, {"bytes 0a", "byte 0 of"}, [&] { tokenizer->encode("\n", "split valid"); });
}

// Proves that characters are code points in order, of one to four bytes, and that an unknown one and bytes that are no
// UTF-8 are refused with their place.
TEST(Tokenizer, Characters) {
  const std::string text =
      "b\xF0\x9F\x98\x80\xE2\x82\xAC"
      "a\xC3\xA9"
      "b\n";
  const auto tokenizer = character_tokenizer(text);
  EXPECT_EQ(tokenizer->texts(),
            (std::vector<std::string>{"\n", "a", "b", "\xC3\xA9", "\xE2\x82\xAC", "\xF0\x9F\x98\x80"}));
  const Ids ids = tokenizer->encode(text, "here");
  EXPECT_EQ(ids, (Ids{2, 5, 4, 1, 3, 2, 0}));
  EXPECT_EQ(joined(*tokenizer, ids), text);
  EXPECT_EQ(tokenizer->encode(text, "here", 3), (Ids{2, 5, 4}));
  expect_error(Kind::kUsage, {"bytes c3 a8", "byte 2 of split test", "not in the train split"},
               [&] { tokenizer->encode("ab\xC3\xA8", "split test"); });
  expect_error(Kind::kUsage, {"bytes ff at byte 1 of split test", "not UTF-8"},
               [&] { tokenizer->encode("a\xFF", "split test"); });
  expect_error(Kind::kUsage, {"the train split", "not UTF-8"}, [] { character_tokenizer("a\xC3"); });
}

// Proves the conventions of WikiText and PTB: words between any white space, <eos> for each line, empty ones too, and
// the set's own <unk> for words that training did not have.
TEST(Tokenizer, Words) {
  const auto tokenizer = word_tokenizer(" = Title = \n\n the <unk> cat\tsat \n");
  EXPECT_EQ(tokenizer->texts(), (std::vector<std::string>{"=", "Title", "<eos>", "the", "<unk>", "cat", "sat"}));
  EXPECT_EQ(tokenizer->unit(), "word");
  EXPECT_EQ(tokenizer->encode("the dog\n\nsat\xC2\xA0the", "here"), (Ids{3, 4, 2, 2, 6, 3, 2}));
  EXPECT_EQ(tokenizer->encode("the dog sat\n", "here", 2), (Ids{3, 4}));
  EXPECT_EQ(tokenizer->encode("", "here"), Ids{});
  EXPECT_EQ(tokenizer->encode("\n", "here"), Ids{2});
  const auto closed = word_tokenizer("a b\n");
  expect_error(Kind::kUsage, {"word 'c'", "byte 2 of split valid", "no word <unk>"},
               [&] { closed->encode("a c\n", "split valid"); });
}

// Proves that decoding gives a text of the same ids, and that the spans are where the tokens lie in it.
TEST(Tokenizer, DecodesAndSpans) {
  const std::string train = "the <unk> cat sat \n\n the\tcat\n";
  for (const char* name : {"byte", "character", "word", "bpe-260"}) {
    const auto tokenizer = make_tokenizer(name, train, "");
    for (const std::string& text : {train, std::string("the\tcat sat  the"), std::string("\n\n"), std::string()}) {
      const Ids ids = tokenizer->encode(text, "here");
      EXPECT_EQ(tokenizer->encode(tokenizer->decode(ids), "here"), ids) << name;
      const std::vector<TokenSpan> spans = tokenizer->spans(text, ids);
      ASSERT_EQ(spans.size(), ids.size()) << name;
      int64_t before = 0;
      for (size_t i = 0; i < ids.size(); ++i) {
        EXPECT_GE(spans[i].begin, before);
        before = spans[i].end;
        const std::string bytes = text.substr(spans[i].begin, spans[i].end - spans[i].begin);
        const std::string& token = tokenizer->texts()[ids[i]];
        EXPECT_EQ(bytes, token != "<eos>"                                                     ? token
                         : before == static_cast<int64_t>(text.size()) && text.back() != '\n' ? ""
                                                                                              : "\n");
      }
      EXPECT_EQ(tokenizer->spans(text, Ids(ids.begin(), ids.begin() + ids.size() / 2)).size(), ids.size() / 2);
    }
    expect_error(Kind::kUsage, {"token -1", "vocabulary"}, [&] { tokenizer->decode({-1}); });
  }
  const auto words = word_tokenizer("the <unk>\n");
  const std::vector<TokenSpan> spans = words->spans("the dogs\nthe", words->encode("the dogs\nthe", "here"));
  EXPECT_EQ(spans.at(1).end, 8);     // the word, not its <unk>
  EXPECT_EQ(spans.at(4).begin, 12);  // <eos> of an end without newline: empty
  EXPECT_EQ(spans.at(4).end, 12);
}

// Proves which characters may stand in a text.
TEST(Tokenizer, Covers) {
  EXPECT_TRUE(byte_tokenizer()->covers(0x4E2D));
  EXPECT_TRUE(text8_tokenizer()->covers('z'));
  EXPECT_FALSE(text8_tokenizer()->covers('Z'));
  EXPECT_FALSE(text8_tokenizer()->covers(0x161));
  EXPECT_TRUE(character_tokenizer("\xC3\xA9")->covers(0xE9));
  EXPECT_FALSE(character_tokenizer("\xC3\xA9")->covers('e'));
  EXPECT_TRUE(word_tokenizer("a <unk>\n")->covers('b'));
  EXPECT_FALSE(word_tokenizer("a b\n")->covers('b'));
}

// Proves that bad names of BPE vocabularies are refused before anything is learnt.
TEST(Tokenizer, BadNamesAreRefused) {
  for (const char* name : {"bpe-", "bpe-256", "bpe-12x", "bpe--5", "bpe-99999999"}) {
    expect_error(Kind::kUsage, {name, "257"}, [&] { make_tokenizer(name, "text", ""); });
  }
  expect_error(Kind::kUsage, {"unknown tokenizer 'bpe'", "bpe-N gpt2 bpe:DIR"},
               [] { make_tokenizer("bpe", "text", ""); });
  expect_error(Kind::kUsage, {"bpe-300", "only 1 merges", "bpe-257"}, [] { make_tokenizer("bpe-300", "ab", ""); });
}

// Proves that decoding accepts exactly the well-formed sequences: every code point there and back, and the ill-formed
// kinds one by one.
TEST(Utf8, OnlyWellFormedSequences) {
  const auto valid = [](const std::string& text) {
    const CodePoint c = code_point(text, 0);
    return c.valid && c.bytes == static_cast<int>(text.size());
  };
  EXPECT_TRUE(valid("a") && valid("\xC2\x80") && valid("\xDF\xBF") && valid("\xE0\xA0\x80") && valid("\xEF\xBF\xBF") &&
              valid("\xF0\x90\x80\x80") && valid("\xF4\x8F\xBF\xBF"));
  for (const char* bad : {"\x80", "\xC1\xBF", "\xE0\x9F\xBF", "\xED\xA0\x80", "\xF0\x8F\xBF\xBF", "\xF4\x90\x80\x80",
                          "\xF5\x80\x80\x80", "\xC3", "\xE2\x82", "\xC3(", "\xFF"}) {
    EXPECT_FALSE(code_point(bad, 0).valid) << static_cast<int>(static_cast<uint8_t>(bad[0]));
    EXPECT_EQ(code_point(bad, 0).bytes, 1);
  }
  EXPECT_EQ(code_point("\xE2\x82\xAC", 0).value, 0x20ACu);
}

// Proves that writing a code point is the inverse of reading it, for all of them.
TEST(Utf8, WritesWhatItReads) {
  for (uint32_t c = 0; c < 0x110000; ++c) {
    if (c >= 0xD800 && c < 0xE000) continue;
    const std::string bytes = utf8(c);
    const CodePoint read = code_point(bytes, 0);
    ASSERT_TRUE(read.valid && read.value == c && read.bytes == static_cast<int>(bytes.size())) << c;
  }
}

// Proves that case goes there and back, between letters alone, and on the borders of its ranges.
TEST(Utf8, Case) {
  for (uint32_t c = 0; c < 0x110000; ++c) {
    ASSERT_EQ(other_case(other_case(c)), c) << c;
    if (other_case(c) != c) {
      ASSERT_TRUE(letter(c)) << c;
    }
  }
  for (const auto& [capital, small] : {std::pair{0x41u, 0x61u},
                                       {0x5Au, 0x7Au},
                                       {0xC9u, 0xE9u},
                                       {0xDEu, 0xFEu},
                                       {0x100u, 0x101u},
                                       {0x178u, 0x178u},
                                       {0x17Du, 0x17Eu},
                                       {0x130u, 0x130u},
                                       {0x138u, 0x138u},
                                       {0x149u, 0x149u},
                                       {0xD7u, 0xD7u},
                                       {0xDFu, 0xDFu},
                                       {0x391u, 0x3B1u},
                                       {0x3A3u, 0x3C3u},
                                       {0x3C2u, 0x3C2u},
                                       {0x401u, 0x451u},
                                       {0x416u, 0x436u},
                                       {0x4E2Du, 0x4E2Du}}) {
    EXPECT_EQ(other_case(capital), small) << capital;
  }
}

// Proves the tables on characters of several scripts, at the ends of ranges, and that the classes do not overlap.
TEST(Utf8, LettersAndNumbers) {
  for (uint32_t c : {0x41u, 0x7Au, 0xAAu, 0xB5u, 0xDFu, 0x3B1u, 0x430u, 0x5D0u, 0x627u, 0x905u, 0x3042u, 0x4E00u,
                     0x9FFFu, 0xAC00u, 0xD7A3u, 0x10400u, 0x20000u}) {
    EXPECT_TRUE(letter(c)) << c;
  }
  for (uint32_t c : {0x30u, 0xB2u, 0xBDu, 0x661u, 0x966u, 0x2160u, 0x3007u, 0xFF10u, 0x1D7CEu}) {
    EXPECT_TRUE(number(c)) << c;
  }
  for (uint32_t c : {0x40u, 0x5Bu, 0x60u, 0x7Bu, 0xD7u, 0xF7u, 0x2Fu, 0x3Au, 0x300u, 0x20ACu, 0x3001u, 0x1F600u}) {
    EXPECT_FALSE(letter(c) || number(c)) << c;
  }
  for (uint32_t c = 0; c < 0x110000; ++c) ASSERT_LE(letter(c) + number(c) + white_space(c), 1) << c;
}

}  // namespace
}  // namespace swy::data
