// Every pre-tokeniser: words by figures (which are what the published expressions match, by an engine for regular
// expressions), and what holds for any text.
#define BOOST_TEST_DYN_LINK
#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <cstddef>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "inlay/generate/random.hpp"
#include "inlay/text/pre_tokenizer.hpp"

namespace {

std::string Words(std::string_view name, std::string_view text) {
  const inlay::PreTokenizer* const rules = inlay::PreTokenizer::Find(name);
  BOOST_REQUIRE_MESSAGE(rules != nullptr, name);
  std::string all;
  inlay::WordSplitter splitter(*rules, text);
  std::string_view word;
  while (splitter.Next(word)) {
    BOOST_REQUIRE(!word.empty());
    all.append("[").append(word).append("]");
  }
  return all;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(text_pre_tokenizer)

BOOST_AUTO_TEST_CASE(Figures) {
  const std::string text =
      "I'll PAY $1234.56  \n\n  caf\xC3\xA9"
      "e\xCC\x81t's";
  const struct {
    const char* name;
    std::string words;
  } cases[] = {
      {"gpt-2",
       "[I]['ll][ PAY][ $][1234][.][56][  \n\n ][ caf\xC3\xA9"
       "e][\xCC\x81][t]['s]"},
      {"starcoder",
       "[I]['ll][ PAY][ $][1][2][3][4][.][5][6][  \n\n ][ caf\xC3\xA9"
       "e][\xCC\x81][t]['s]"},
      {"command-r",
       "[I]['ll][ PAY][ $][1][2][3][4][.][5][6][  \n\n ][ caf\xC3\xA9"
       "e][\xCC\x81][t]['s]"},
      {"falcon",
       "[I]['][ll][ PAY][ ][$][123][4][.][56][  \n\n ][ caf\xC3\xA9"
       "e][\xCC\x81][t]['][s]"},
      {"default",
       "[I]['][ll][ PAY][ ][$][123][4][.][56][  \n\n ][ caf\xC3\xA9"
       "e][\xCC\x81][t]['][s]"},
      {"llama-bpe",
       "[I]['ll][ PAY][ $][123][4][.][56][  \n\n][ ][ caf\xC3\xA9"
       "e][\xCC\x81t]['s]"},
      {"dbrx",
       "[I]['ll][ PAY][ $][123][4][.][56][  \n\n][ ][ caf\xC3\xA9"
       "e][\xCC\x81t]['s]"},
      {"qwen2",
       "[I]['ll][ PAY][ $][1][2][3][4][.][5][6][  \n\n][ ][ caf\xC3\xA9"
       "e][\xCC\x81t]['s]"},
      {"qwen35",
       "[I]['ll][ PAY][ $][1][2][3][4][.][5][6][  \n\n][ ][ caf\xC3\xA9"
       "e\xCC\x81t]['s]"},
      {"deepseek-llm", "[I]['][ll][ PAY][ $][1234][.][56][  ][\n][\n][ ][ caf][\xC3\xA9][e][\xCC\x81][t]['][s]"},
      {"deepseek-coder",
       "[I]['][ll][ PAY][ $][1][2][3][4][.][5][6][  ][\n][\n][ ][ caf\xC3\xA9"
       "e][\xCC\x81][t]['][s]"},
      {"deepseek-v3",
       "[I]['ll][ PAY][ $][123][4][.][56][  \n\n][ ][ caf\xC3\xA9"
       "e\xCC\x81t]['s]"},
      {"spark2_5",
       "[I]['ll][ PAY][ $][1][2][3][4][.][5][6][  \n\n ][ caf\xC3\xA9"
       "e\xCC\x81t]['s]"},
      {"youtu",
       "[I'll][ PAY][ $][1][2][3][4][.][5][6][  \n\n][ ][ caf\xC3\xA9"
       "e\xCC\x81t's]"},
      {"gpt-4o",
       "[I'll][ PAY][ $][123][4][.][56][  \n\n][ ][ caf\xC3\xA9"
       "e\xCC\x81t's]"},
      {"tekken",
       "[I]['ll][ PAY][ $][1][2][3][4][.][5][6][  \n\n][ ][ caf\xC3\xA9"
       "e\xCC\x81t]['s]"},
      {"bloom",
       "[I'll][ PAY][ $1234][.][56][  \n\n ][ caf\xC3\xA9"
       "e\xCC\x81t's]"},
      {"viking",
       "[I'll][ PAY][ $][1][2][3][4][.][5][6][  \n\n ][ caf\xC3\xA9"
       "e\xCC\x81t's]"},
      {"seed-coder",
       "[I]['ll][ PAY][ $][1][2][3][4][.][5][6][  \n\n][ ][ caf\xC3\xA9"
       "e][\xCC\x81t]['s]"},
      {"ufakzeka",
       "[I]['ll][ PAY][ $][1][2][3][4][.][5][6][  \n\n][ ][ caf\xC3\xA9"
       "e][\xCC\x81t]['s]"},
      {"minicpm5",
       "[I]['ll][ PAY][ $][123][4][.][56][  \n\n][ ][ caf\xC3\xA9"
       "e][\xCC\x81t]['s]"},
      {"bailingmoe",
       "[I]['ll][ PAY][ $][1][2][3][4][.][5][6][  \n\n][ ][ caf\xC3\xA9"
       "e][\xCC\x81t]['s]"},
      {"exaone-moe",
       "[I]['ll][ PAY][ $][1][2][3][4][.][5][6][  \n\n][ ][ caf\xC3\xA9"
       "e\xCC\x81t]['s]"},
      {"laguna",
       "[I]['ll][ PAY][ $][1][2][3][4][.][5][6][  ][\n\n][ ][ caf\xC3\xA9"
       "e][\xCC\x81t]['s]"},
      {"gemma4",
       "[I'll PAY $1234.56  ][\n\n][  caf\xC3\xA9"
       "e\xCC\x81t's]"},
      {"jais-2",
       "[I]['ll][ PAY][ $][123][4][.][56][  \n\n][ ][ caf\xC3\xA9"
       "e][\xCC\x81t]['s]"},
      {"superbpe",
       "[I'll PAY $][1][234][.][56][  \n\n  caf\xC3\xA9"
       "e\xCC\x81t's]"},
      {"afmoe",
       "[I]['ll][ PAY][ $][1][234][.][56][  \n\n][ ][ caf\xC3\xA9"
       "e\xCC\x81t]['s]"},
      {"tiny_aya",
       "[I'll][ PAY][ $][1][234][.][56][  \n\n][ ][ caf\xC3\xA9"
       "e\xCC\x81t's]"},
  };
  for (const auto& c : cases) BOOST_TEST(Words(c.name, text) == c.words, c.name << ": " << Words(c.name, text));
}

BOOST_AUTO_TEST_CASE(Corners) {
  const struct {
    const char* name;
    const char* text;
    const char* words;
  } cases[] = {
      {"gpt-2", "  a\x09 b 12 \xC2\xB2x\n", "[ ][ a][\x09][ b][ 12][ \xC2\xB2][x][\n]"},
      {"gpt-2", "'S's 've''re ", "['][S]['s][ '][ve][''][re][ ]"},
      {"llama-bpe", "'S'LL'Re\r\n\r\nx", "['S]['LL]['Re][\r\n\r\n][x]"},
      {"llama-bpe",
       "\x09"
       "ab\xC2\xA0"
       "cd \xE3\x80\x80 1234567",
       "[\x09"
       "ab][\xC2\xA0"
       "cd][ \xE3\x80\x80][ ][123][456][7]"},
      {"falcon", "a1234+b$c", "[a][123][4][+][b][$][c]"},
      {"default", "x`+12345", "[x][`][+][123][45]"},
      {"deepseek-llm", "Ab \xCE\xB1\xD0\xB1\xE4\xB8\xAD\xE6\x96\x87 12  ",
       "[Ab][ \xCE\xB1\xD0\xB1][\xE4\xB8\xAD\xE6\x96\x87][ ][12][  ]"},
      {"deepseek-llm",
       "\xE1\x83\x90"
       "a, b.",
       "[\xE1\x83\x90][a][,][ b][.]"},
      {"deepseek-coder",
       " \xE4\xB8\xAD\xE6\x96\x87"
       "1, 23",
       "[ ][\xE4\xB8\xAD\xE6\x96\x87][1][,][ ][2][3]"},
      {"deepseek-v3",
       "x.abc_def(1234)\xE6\x97\xA5\xE6\x9C\xAC\xE3\x81\x82 \xE2\x80\x8B\xE2\x80\x8B"
       "a",
       "[x][.abc][_def][(][123][4][)][\xE6\x97\xA5\xE6\x9C\xAC\xE3\x81\x82][ ][\xE2\x80\x8B][\xE2\x80\x8B"
       "a]"},
      {"gpt-4o",
       "HELLOWorld\xC7\x85"
       "a \xC3\x89"
       "COLE\xC3\xA9"
       "c \xE4\xB8\xAD"
       "Ab I'M'll/\n/",
       "[HELLOWorld][\xC7\x85"
       "a][ \xC3\x89"
       "COLE\xC3\xA9"
       "c][ \xE4\xB8\xAD"
       "Ab][ I'M]['ll][/\n/]"},
      {"gpt-4o",
       "\xCC\x81"
       "ABCab \xCA\xB0"
       "ABC",
       "[\xCC\x81"
       "ABCab][ \xCA\xB0][ABC]"},
      {"tekken", "ABCd'sEf 12", "[ABCd]['s][Ef][ ][1][2]"},
      {"qwen35",
       "\xCC\x81"
       "a \xCC\x81 .\xCC\x81",
       "[\xCC\x81"
       "a][ \xCC\x81][ .][\xCC\x81]"},
      {"exaone-moe", "ab cd  ef\xCC\x81 g 1.", "[ab cd][ ][ ef\xCC\x81 g][ ][1][.]"},
      {"jais-2",
       "                                                                                                               "
       "                                                                                                               "
       "                                                                                                               "
       "                                                                                                               "
       "                                                                                                               "
       "                                             x",
       "[                                                                                                              "
       "                                                                                                               "
       "                                                                                                               "
       "                                                                                                               "
       "                                                                     ][                                        "
       "                        ][                ][    ][  ][ ][ x]"},
      {"jais-2", "       ", "[    ][  ][ ]"},
      {"afmoe",
       "1234567 \xE0\xB9\x81\xE0\xB9\x82"
       "a",
       "[1][234][567][ ][\xE0\xB9\x81\xE0\xB9\x82][a]"},
      {"tiny_aya", "12345678", "[12][345][678]"},
      {"superbpe", "ab 1234 cd", "[ab ][1][234][ cd]"},
      {"bloom", "Hi, you|there (x)", "[Hi][,][ you][|][there][ (][x][)]"},
      {"viking", "a 12", "[a][ ][1][2]"},
      {"youtu",
       "\xED\x95\x9C\xEA\xB8\x80"
       "a\xE3\x84\x85\xE3\x80\x81"
       "b1",
       "[\xED\x95\x9C\xEA\xB8\x80][a][\xE3\x84\x85][\xE3\x80\x81][b][1]"},
      {"gemma4", "a\n\n b\r\n", "[a][\n\n][ b\r][\n]"},
      {"seed-coder", "a!!\n\n", "[a][!!][\n\n]"},
      {"bailingmoe", "a!!\n \n b", "[a][!!\n][ \n][ b]"},
      {"minicpm5", "12345", "[123][45]"},
      {"laguna", "!\n\na", "[!][\n\n][a]"},
  };
  for (const auto& c : cases) BOOST_TEST(Words(c.name, c.text) == c.words, c.name << ": " << Words(c.name, c.text));
}

BOOST_AUTO_TEST_CASE(NamesAreThereOnce) {
  std::set<std::string_view> names;
  for (const inlay::PreTokenizer& rules : inlay::detail::kPreTokenizers) {
    BOOST_TEST(names.insert(rules.name).second, rules.name);
    BOOST_TEST(rules.pattern.size() >= 1u);
    BOOST_TEST(rules.pattern.size() <= inlay::detail::kMaxStages);
  }
  BOOST_TEST(inlay::PreTokenizer::Find("") == nullptr);
  BOOST_TEST(inlay::PreTokenizer::Find("gpt-3") == nullptr);
}

// The words are the text, cut nowhere inside a character.
BOOST_AUTO_TEST_CASE(NothingIsLost) {
  inlay::Pcg32 random(5);
  const char* parts[] = {"a",        "B",        "1",
                         " ",        "\n",       "\r",
                         "'",        "s",        ".",
                         "/",        "\xC3\xA9", "\xE4\xB8\xAD",
                         "\xCC\x81", "\xC2\xA0", "\xF0\x9F\x98\x80",
                         "\xFF",     "\xE4\xB8", "ll",
                         "  ",       "123"};
  for (const inlay::PreTokenizer& rules : inlay::detail::kPreTokenizers) {
    for (int round = 0; round < 60; ++round) {
      std::string text;
      for (std::uint32_t i = random.Next() % 30; i != 0; --i) text += parts[random.Next() % std::size(parts)];
      std::string joined;
      inlay::WordSplitter splitter(rules, text);
      std::string_view word;
      while (splitter.Next(word)) {
        BOOST_REQUIRE(!word.empty());
        if (inlay::IsValidUtf8(text)) BOOST_REQUIRE(inlay::IsValidUtf8(word));
        joined += word;
      }
      BOOST_TEST(joined == text);
      BOOST_TEST(!splitter.Next(word));
    }
  }
}

// Runs of one character, and of those that are looked at beyond a match: no loop is quadratic (the test would take
// minutes).
BOOST_AUTO_TEST_CASE(LongRuns) {
  for (const inlay::PreTokenizer& rules : inlay::detail::kPreTokenizers) {
    for (const std::string unit : {"a", "A", "1", " ", "\n", " \n", ".", "'", "\xCC\x81", "\xE4\xB8\xAD", "A\xCC\x81",
                                   "\xFF", "a ", "\xC2\xB2"}) {
      std::string text;
      while (text.size() < 20000) text += unit;
      text += "x";
      std::size_t bytes = 0;
      inlay::WordSplitter splitter(rules, text);
      std::string_view word;
      while (splitter.Next(word)) bytes += word.size();
      BOOST_REQUIRE(bytes == text.size());
    }
  }
}

BOOST_AUTO_TEST_SUITE_END()
