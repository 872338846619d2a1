#include "data/noise/noise.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <map>
#include <set>
#include <thread>
#include <tuple>

#include "core/base/philox.h"
#include "core/base/seed.h"
#include "data/noise/keyboard.h"
#include "data/testing.h"
#include "data/tokenizer.h"
#include "data/utf8.h"

namespace swy::data {
namespace {

std::string noisy(const std::string& name, double rate, const std::string& text, const Alphabet& allowed = {},
                  uint64_t seed = 0) {
  return apply(find_noise(name), rate, text, seed, allowed).text;
}

// Latin, accented, Cyrillic and Chinese words, capitals, digits, sentences and lines; about 6 bytes a word.
std::string many_words(int count) {
  const std::vector<std::string> words = {"the",  "Modern", "clever", "caf\xC3\xA9",
                                          "1058", "burns",  "O",      "\xD0\x94\xD0\xBE\xD0\xBC",
                                          "a",    "I",      "well",   "\xE4\xB8\xAD\xE6\x96\x87"};
  Random random(7);
  std::string text;
  for (int i = 0; i < count; ++i) {
    text += words[random.below(static_cast<uint32_t>(words.size()))];
    text += random.below(8) ? " " : random.below(3) ? ". " : ".\n";
  }
  return text;
}

const std::vector<std::string>& scripts() {
  static const std::vector<std::string> texts = {
      "",
      "a",
      " ",
      "\xC3\xA9",
      "\xE4\xB8\xAD",
      "nospacesandnosentences",
      " \n\n  \t ",
      "Hear me. Speak! Who, I? \"Yes.\" No 3.14 (end.)\nA new line\n\nlast",
      "D\xC3\xA9j\xC3\xA0 vu, na\xC3\xAFve \xC3\x89mile. O\xC3\xB9?",
      "\xD0\x94\xD0\xBE\xD0\xB1\xD1\x80\xD1\x8B\xD0\xB9 \xD0\xB4\xD0\xB5\xD0\xBD\xD1\x8C. \xD0\xAF.",
      "\xE4\xB8\xAD\xE6\x96\x87\xE3\x80\x82\xE4\xBD\xA0\xE5\xA5\xBD\xEF\xBC\x81\xE5\xA5\xBD",
      "emoji \xF0\x9F\x98\x80 and <b>[[mark up]]</b> &amp;",
      "\xA9 cut \xFF in \xC3( the middle \xE4\xB8",
      many_words(300),
  };
  return texts;
}

int ill_formed(std::string_view text) {
  int count = 0;
  for (size_t at = 0; at < text.size();) {
    const CodePoint c = code_point(text, at);
    count += !c.valid;
    at += static_cast<size_t>(c.bytes);
  }
  return count;
}

void expect_exact(const NoisyText& noisy, const std::string& clean) {
  int64_t at = 0, edits = 0;
  std::vector<std::pair<int64_t, int64_t>> sources;
  for (const Piece& p : noisy.pieces) {
    ASSERT_EQ(p.begin, at);
    at = p.end;
    sources.emplace_back(p.source_begin, p.source_end);
    edits += p.kind == PieceKind::kNew;
    if (p.kind == PieceKind::kNew) continue;
    ASSERT_EQ(noisy.text.substr(p.begin, p.end - p.begin), clean.substr(p.source_begin, p.source_end - p.source_begin));
  }
  ASSERT_EQ(at, static_cast<int64_t>(noisy.text.size()));
  std::sort(sources.begin(), sources.end());
  at = 0;
  for (const auto& [begin, end] : sources) {
    ASSERT_EQ(begin, at);
    at = end;
  }
  ASSERT_EQ(at, static_cast<int64_t>(clean.size()));
  if (edits > 0) {
    ASSERT_EQ(edits, noisy.edited);
  }
}

// What was done where: source span, new text, or the other span for what was moved.
std::set<std::tuple<int64_t, int64_t, std::string>> edits_of(const NoisyText& noisy) {
  std::set<std::tuple<int64_t, int64_t, std::string>> edits;
  for (const Piece& p : noisy.pieces) {
    if (p.kind != PieceKind::kKept)
      edits.emplace(p.source_begin, p.source_end, noisy.text.substr(p.begin, p.end - p.begin));
  }
  return edits;
}

// Proves for every noise, script and rate that pieces tile both texts, that copies are copies, that no character is
// cut, that rate 0 changes nothing, and that a second time gives the same.
TEST(Noise, AlignmentIsExactInEveryScript) {
  for (const Noise& noise : noises()) {
    std::vector<double> rates = noise.rates;
    rates.insert(rates.end(), {0.0, 0.3, 1.0});
    for (const std::string& clean : scripts()) {
      for (double rate : rates) {
        SCOPED_TRACE(cat(noise.name, " at ", rate, " of '", clean.substr(0, 40), "'"));
        const NoisyText once = apply(noise, rate, clean, 5);
        expect_exact(once, clean);
        if (HasFatalFailure()) return;
        if (noise.name.rfind("word", 0) != 0) {
          EXPECT_EQ(ill_formed(once.text), ill_formed(clean));
        }
        if (rate == 0) {
          EXPECT_EQ(once.text, clean);
        }
        if (rate == 0) {
          EXPECT_EQ(once.edited, 0);
        }
        if (rate == 1) {
          EXPECT_EQ(once.edited, once.sites);
        }
        EXPECT_EQ(apply(noise, rate, clean, 5).text, once.text);
      }
    }
  }
}

// Proves that the share of sites edited is the rate, for every severity, within four standard deviations of a binomial
// count, of a text so long that a rate a seventh off would fail; and that edits are those counted.
TEST(Noise, EditsAreBinomialAroundTheRate) {
  const std::string clean = many_words(200000);
  for (const Noise& noise : noises()) {
    for (double rate : noise.rates) {
      const NoisyText result = apply(noise, rate, clean, 11);
      const auto sites = static_cast<double>(result.sites);
      const double bound = 4 * std::sqrt(sites * rate * (1 - rate));
      EXPECT_LE(bound, rate * sites / 7) << noise.name;
      EXPECT_NEAR(static_cast<double>(result.edited), rate * sites, bound) << noise.name << " at " << rate;
      int64_t written = 0, moved = 0;
      for (const Piece& p : result.pieces) {
        written += p.kind == PieceKind::kNew;
        moved += p.kind == PieceKind::kMoved;
      }
      EXPECT_EQ(written + moved / 2, result.edited) << noise.name;  // a pair of sentences is one edit
    }
  }
}

// Proves, by counting on its own, what the sites are.
TEST(Noise, SitesAreAsDefined) {
  const std::string text = "Ab1 <c>\n\xC3\xA9 \xE4\xB8\xAD\xE6\x96\x87  ma'am";
  const std::map<std::string, int64_t> expected = {
      {"word_swap_unk", 5}, {"word_swap_sample", 5}, {"typo_delete", 11},
      {"typo_insert", 11},  {"typo_keyboard", 8},  // A b 1 c m a a m
      {"ocr", 5},                                  // b 1 c m m
      {"case", 8},                                 // A b c e-acute m a a m
      {"whitespace", 2},                           // the double space is none
  };
  for (const auto& [name, sites] : expected) EXPECT_EQ(apply(find_noise(name), 0, text, 0).sites, sites) << name;
  EXPECT_EQ(apply(find_noise("typo_swap"), 0, "aa bb cc", 0).sites, 0);  // equal characters cannot change places
  EXPECT_EQ(apply(find_noise("sentence_shuffle"), 0, "A b. C d. E f.", 0).sites, 1);  // one pair, one left over
}

// Proves that what a lower rate does a higher one does too, and in the same way.
TEST(Noise, LowerRatesAreNestedInHigherOnes) {
  const std::string clean = many_words(20000);
  for (const Noise& noise : noises()) {
    const std::vector<double> rates = {0.01, 0.05, 0.3, 1};
    for (size_t i = 0; i + 1 < rates.size(); ++i) {
      const auto low = edits_of(apply(noise, rates[i], clean, 3)),
                 high = edits_of(apply(noise, rates[i + 1], clean, 3));
      EXPECT_FALSE(low.empty()) << noise.name;
      EXPECT_GT(high.size(), low.size()) << noise.name;
      EXPECT_TRUE(std::includes(high.begin(), high.end(), low.begin(), low.end())) << noise.name << rates[i];
    }
  }
}

// Proves the draw: the site at byte `at` is edited where the first Philox word at counter `at`, over 2^32, is below the
// rate. So nothing but seed, name and position counts.
TEST(Noise, ASiteIsHitByItsPositionAlone) {
  const std::string clean(500, 'x');
  const uint64_t key = child_seed(42, "typo_delete");
  int64_t expected = 0;
  for (uint64_t at = 0; at < clean.size(); ++at) expected += philox(key, 0, at)[0] < 0.05 * 0x1p32;
  const NoisyText all = apply(find_noise("typo_delete"), 0.05, clean, 42);
  EXPECT_GT(expected, 0);
  EXPECT_EQ(all.edited, expected);
  for (const Piece& p : all.pieces) {
    if (p.kind == PieceKind::kNew) {
      EXPECT_LT(philox(key, 0, static_cast<uint64_t>(p.source_begin))[0], 0.05 * 0x1p32);
    }
  }
  EXPECT_NE(edits_of(apply(find_noise("typo_delete"), 0.05, clean, 43)), edits_of(all));
  EXPECT_NE(noisy("typo_swap", 0.3, many_words(50), {}, 1), noisy("typo_swap", 0.3, many_words(50), {}, 2));
}

// Proves that noises made at the same time, in any order, are those made one after the other.
TEST(Noise, ThreadsAndOrderDoNotMatter) {
  const std::string clean = many_words(3000);
  std::vector<std::string> alone, together(noises().size());
  for (const Noise& noise : noises()) alone.push_back(apply(noise, 0.2, clean, 1).text);
  std::vector<std::thread> threads;
  for (size_t i = noises().size(); i-- > 0;)
    threads.emplace_back([&, i] { together[i] = apply(noises()[i], 0.2, clean, 1).text; });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(together, alone);
}

// Proves word swap on examples: every word, markup and punctuation with it, and white space as it was; without < and >
// the word is unk; a sampled word is another one, as often as the text has it.
TEST(Noise, WordSwap) {
  EXPECT_EQ(noisy("word_swap_unk", 1,
                  " the [[cat]],\n\n sat\xC2\xA0"
                  "on "),
            " <unk> <unk>\n\n <unk>\xC2\xA0<unk> ");
  EXPECT_EQ(apply(find_noise("word_swap_unk"), 1, "<unk> a", 0).sites, 1);
  const auto text8 = text8_tokenizer();
  const Alphabet letters = [&](uint32_t c) { return text8->covers(c); };
  EXPECT_EQ(noisy("word_swap_unk", 1, "the cat", letters), "unk unk");
  EXPECT_EQ(noisy("word_swap_unk", 1, "the cat", [](uint32_t) { return false; }), "the cat");
  EXPECT_EQ(noisy("word_swap_sample", 1, "a b\nb a"), "b a\na b");
  EXPECT_EQ(noisy("word_swap_sample", 1, "same same"), "same same");
  std::string text;
  for (int i = 0; i < 4000; ++i) text += i % 4 == 0 ? "rare " : i % 4 == 1 ? "x " : "often ";
  int rare = 0;  // for x, of which there are a quarter: rare one time in three
  for (const Piece& p : apply(find_noise("word_swap_sample"), 1, text, 0).pieces) {
    rare += text[p.source_begin] == 'x' && p.end - p.begin == 4;
  }
  EXPECT_NEAR(rare, 1000 / 3.0, 4 * std::sqrt(1000 * 2 / 9.0));
}

// Proves the four typing errors on examples, characters of several bytes among them, and that only words are touched.
TEST(Noise, Typos) {
  EXPECT_EQ(noisy("typo_delete", 1, "a\xC3\xA9, <\xE4\xB8\xAD> 1\n"), ", <> \n");
  EXPECT_EQ(noisy("typo_insert", 1, "aa <a>"), "aaaa <aa>");
  std::set<std::string> swaps, inserts;
  for (uint64_t seed = 0; seed < 40; ++seed) {
    swaps.insert(noisy("typo_swap", 1, "a\xC3\xA9z-b", {}, seed));
    inserts.insert(noisy("typo_insert", 1, "\xE4\xB8\xAD-b", {}, seed));
  }
  EXPECT_EQ(swaps, (std::set<std::string>{"\xC3\xA9"
                                          "az-b",
                                          "az\xC3\xA9-b"}));
  EXPECT_EQ(inserts, (std::set<std::string>{"\xE4\xB8\xAD\xE4\xB8\xAD-bb", "\xE4\xB8\xAD\xE4\xB8\xAD-b\xE4\xB8\xAD",
                                            "\xE4\xB8\xAD"
                                            "b-bb",
                                            "\xE4\xB8\xAD"
                                            "b-b\xE4\xB8\xAD"}));
}

// Proves keys beside each other against the layout as one sees it, that it goes both ways, and that capitals stay so.
TEST(Noise, KeyboardNeighbours) {
  const auto sorted = [](uint32_t c) {
    std::string keys = key_neighbours(c);
    std::sort(keys.begin(), keys.end());
    return keys;
  };
  EXPECT_EQ(sorted('s'), "adewxz");
  EXPECT_EQ(sorted('q'), "12aw");
  EXPECT_EQ(sorted('g'), "bfhtvy");
  EXPECT_EQ(sorted('p'), "-0;[lo");
  EXPECT_EQ(sorted('P'), "LO");
  EXPECT_EQ(sorted('1'), "2`q");
  EXPECT_EQ(sorted(0xE9), "");
  for (char a = 'a'; a <= 'z'; ++a) {
    for (char b : key_neighbours(static_cast<uint32_t>(a))) {
      if (std::isalnum(b)) {
        EXPECT_NE(sorted(static_cast<uint32_t>(b)).find(a), std::string::npos) << a << b;
      }
    }
  }
  for (char c : noisy("typo_keyboard", 1, std::string(200, 's'))) EXPECT_NE(sorted('s').find(c), std::string::npos);
  for (char c : noisy("typo_keyboard", 1, std::string(200, 'q'), [](uint32_t c) { return c >= 'a'; }))
    EXPECT_TRUE(c == 'a' || c == 'w');
}

// Proves reading errors (two characters before one), case in four scripts, and spaces lost or doubled.
TEST(Noise, OcrCaseAndSpaces) {
  EXPECT_EQ(noisy("ocr", 1, "rn m 5 S"), "m rn S 5");
  EXPECT_EQ(noisy("ocr", 1, "clvvc"), "dwe");
  EXPECT_EQ(noisy("ocr", 1, "o0", [](uint32_t c) { return c == 'o'; }), "oo");
  EXPECT_EQ(noisy("case", 1, "aZ \xC3\xA9 \xC3\x9F \xD0\xB6 \xCE\xA9 \xE4\xB8\xAD 1"),
            "Az \xC3\x89 \xC3\x9F \xD0\x96 \xCF\x89 \xE4\xB8\xAD 1");
  EXPECT_EQ(noisy("case", 1, "abc", [](uint32_t c) { return c >= 'a'; }), "abc");
  std::set<std::string> spaced;
  for (uint64_t seed = 0; seed < 20; ++seed) spaced.insert(noisy("whitespace", 1, " a b  c\nd ", {}, seed));
  EXPECT_EQ(spaced, (std::set<std::string>{" ab  c\nd ", " a  b  c\nd "}));
}

// Proves that every sentence of an even number moves at rate 1, whole, with what is between them in its place; in
// Chinese and across lines; and none further than its block of eight.
TEST(Noise, SentenceShuffle) {
  std::set<std::string> orders;
  for (uint64_t seed = 0; seed < 60; ++seed)
    orders.insert(noisy("sentence_shuffle", 1, "One is 1.5. \"Two!\"  Three\nFour?!", {}, seed));
  EXPECT_EQ(orders, (std::set<std::string>{"\"Two!\" One is 1.5.  Four?!\nThree", "Three Four?!  One is 1.5.\n\"Two!\"",
                                           "Four?! Three  \"Two!\"\nOne is 1.5."}));
  EXPECT_EQ(noisy("sentence_shuffle", 1, "\xE4\xB8\xAD\xE3\x80\x82\xE6\x96\x87\xEF\xBC\x81"),
            "\xE6\x96\x87\xEF\xBC\x81\xE4\xB8\xAD\xE3\x80\x82");
  EXPECT_EQ(noisy("sentence_shuffle", 1, "Only one."), "Only one.");
  std::string text;
  for (int i = 0; i < 30; ++i) text += cat("Sentence ", 100 + i, ". ");
  for (const Piece& p : apply(find_noise("sentence_shuffle"), 1, text, 0).pieces)
    EXPECT_EQ(p.begin / 14 / 8, p.source_begin / 14 / 8);
}

// Proves that noises of a set of few characters keep to them: the 27 of text8, and those of a Russian text.
TEST(Noise, KeepsToTheAlphabet) {
  for (const auto& tokenizer : {text8_tokenizer(), character_tokenizer("\xD0\xB4\xD0\xBE\xD0\xBC \xD1\x8F\n.")}) {
    std::string text;
    Random random(1);
    for (int i = 0; i < 5000; ++i)
      text += tokenizer->texts()[random.below(4) ? random.below(static_cast<uint32_t>(tokenizer->vocabulary())) : 0];
    for (const Noise& noise : noises()) {
      const NoisyText result = apply(noise, 0.5, text, 1, [&](uint32_t c) { return tokenizer->covers(c); });
      EXPECT_NO_THROW(tokenizer->encode(result.text, noise.name)) << noise.name;
    }
  }
}

// Proves that an unknown noise and a rate that is none are refused, with what was meant.
TEST(Noise, BadNamesAndRatesAreRefused) {
  expect_error(Kind::kUsage, {"unknown noise 'typo_swop'", "did you mean 'typo_swap'", "sentence_shuffle"},
               [] { find_noise("typo_swop"); });
  for (double rate : {-0.01, 1.5, std::nan("")})
    expect_error(Kind::kUsage, {"of noise 'ocr'", "[0, 1]", "0.01, 0.02, 0.05"},
                 [&] { apply(find_noise("ocr"), rate, "text", 0); });
  std::set<std::string> names;
  for (const Noise& noise : noises()) {
    EXPECT_TRUE(names.insert(noise.name).second);
    EXPECT_FALSE(noise.doc.empty() || noise.rates.empty());
    EXPECT_TRUE(std::is_sorted(noise.rates.begin(), noise.rates.end()));
  }
}

}  // namespace
}  // namespace swy::data
