// Pre-tokenisers: where byte-pair encodings cut text into words before they join anything. Models publish them as
// regular expressions; here each is a few constants for matchers written by hand, because an engine for regular
// expressions costs time, stack and megabytes of tables.
#ifndef INLAY_TEXT_PRE_TOKENIZER_HPP_
#define INLAY_TEXT_PRE_TOKENIZER_HPP_

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string_view>

#include "inlay/core/macros.hpp"
#include "inlay/text/unicode.hpp"

INLAY_BEGIN_NAMESPACE

namespace detail {

struct CodePointRange {
  char32_t first;
  char32_t last;
};

struct CharacterSet {
  CharacterKinds kinds = 0;
  std::string_view ascii = {};                      // also these
  std::span<const CodePointRange> ranges = {};      // also these
  std::span<const CodePointRange> exceptions = {};  // but not these
  bool inverted = false;                            // all others instead

  static constexpr bool In(std::span<const CodePointRange> ranges, char32_t code_point) {
    for (const CodePointRange& range : ranges) {
      if (code_point >= range.first && code_point <= range.last) return true;
    }
    return false;
  }
  // False for the end of the text, whose kind is none.
  constexpr bool Has(const Character& c) const {
    if (c.kind == 0) return false;
    bool in = (c.kind & kinds) != 0 || In(ranges, c.code_point);
    if (!in && c.code_point < 128) in = ascii.find(static_cast<char>(c.code_point)) != std::string_view::npos;
    if (in && In(exceptions, c.code_point)) in = false;
    return in != inverted;
  }
};

enum class Lead : std::uint8_t { kNone, kSpace, kWhiteSpace };

inline constexpr std::uint32_t kNoLimit = std::numeric_limits<std::uint32_t>::max();

// Runs of the characters of a set: at least and at most so many, perhaps with one space in front.
struct RunRules {
  CharacterSet set;
  Lead lead = Lead::kNone;
  std::uint32_t least = 1;
  std::uint32_t most = kNoLimit;
};

enum class Contractions : std::uint8_t { kNone, kSmall, kAnyCase, kAfterWord };  // 's 't 'm 'd 're 've 'll
enum class Prefix : std::uint8_t { kSpace, kAnyCharacter };
enum class Shape : std::uint8_t {
  kRun,     // letters
  kCased,   // capitals, then small letters
  kPhrase,  // letters with their marks, and single spaces between them
};
enum class Tail : std::uint8_t { kNone, kNewlines, kNewlinesAndSlashes, kOneNewlineOrSlash };
enum class Newlines : std::uint8_t { kWhiteSpace, kOwnRun, kSingle };
enum class Spaces : std::uint8_t { kAllButLast, kPowersOfTwo };

// The alternatives of one regular expression over words, numbers, punctuation and space, tried in this order.
struct WordRules {
  Contractions contractions = Contractions::kAnyCase;
  bool ascii_punctuation_word = false;    // [!-/:-@[-`{-~][A-Za-z]+
  Prefix prefix = Prefix::kAnyCharacter;  // one character that a word may begin with
  CharacterKinds no_prefix = kLetter | kNumber;
  Shape shape = Shape::kRun;
  CharacterKinds letters = kLetter;
  std::uint32_t digits = 1;  // at most so many numbers in a row; 0: no such alternative
  bool space_before_digits = false;
  CharacterKinds punctuation = static_cast<CharacterKinds>(~(kWhiteSpace | kLetter | kNumber));
  Tail tail = Tail::kNewlines;  // what punctuation takes along
  Newlines newlines = Newlines::kOwnRun;
  Spaces spaces = Spaces::kAllButLast;
};

enum class StageKind : std::uint8_t { kRuns, kWords, kTrailingSpace, kThreesFromTheEnd };

// One expression: it cuts what the stage before left in one piece into its matches and what is between them.
struct PatternStage {
  StageKind kind;
  const RunRules* runs = nullptr;
  const WordRules* words = nullptr;
};

inline constexpr std::size_t kMaxStages = 6;
using Pattern = std::span<const PatternStage>;

// --- the expressions of published models ---
// In comments as their files have them; facts as llama.cpp lists them (src/llama-vocab.cpp), except that words of
// kCased shape tell capitals by their category, and digits in threes stand alone, as the models' own files have it, where
// it knows only the capitals A to Z, and joins the first digits to what comes before.

// 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
inline constexpr WordRules kGpt2Words = {.contractions = Contractions::kSmall,
                                         .prefix = Prefix::kSpace,
                                         .digits = kNoLimit,
                                         .space_before_digits = true,
                                         .tail = Tail::kNone,
                                         .newlines = Newlines::kWhiteSpace};
// (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+
inline constexpr WordRules kLlama3Words = {.digits = 3};
// The same with \p{N}
inline constexpr WordRules kQwen2Words = {};
// The same with marks as letters.
inline constexpr WordRules kQwen35Words = {
    .letters = kLetter | kMark, .punctuation = static_cast<CharacterKinds>(~(kWhiteSpace | kLetter | kMark | kNumber))};
// [!-/:-@\[-`{-~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+
inline constexpr WordRules kDeepseek3Words = {.contractions = Contractions::kNone,
                                              .ascii_punctuation_word = true,
                                              .no_prefix = kLetter | kPunctuation | kSymbol,
                                              .letters = kLetter | kMark,
                                              .digits = 0,
                                              .punctuation = kPunctuation | kSymbol};
inline constexpr WordRules kSparkWords = {.contractions = Contractions::kNone,
                                          .ascii_punctuation_word = true,
                                          .no_prefix = kLetter | kPunctuation | kSymbol,
                                          .letters = kLetter | kMark,
                                          .digits = 0,
                                          .punctuation = kPunctuation | kSymbol,
                                          .tail = Tail::kNone,
                                          .newlines = Newlines::kSingle};
// [^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|...)?|
// [^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|...)?|
// \p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+
inline constexpr WordRules kO200kWords = {
    .contractions = Contractions::kAfterWord, .shape = Shape::kCased, .digits = 3, .tail = Tail::kNewlinesAndSlashes};
inline constexpr WordRules kTekkenWords = {
    .contractions = Contractions::kNone, .shape = Shape::kCased, .tail = Tail::kNewlinesAndSlashes};
inline constexpr WordRules kYoutuWords = {
    .contractions = Contractions::kAfterWord, .shape = Shape::kCased, .tail = Tail::kNewlinesAndSlashes};
inline constexpr WordRules kSeedCoderWords = {.tail = Tail::kNone};
inline constexpr WordRules kUfakzekaWords = {.contractions = Contractions::kNone};
// (?i:'s|...)|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|...
inline constexpr WordRules kExaoneMoeWords = {.shape = Shape::kPhrase, .tail = Tail::kOneNewlineOrSlash};
inline constexpr WordRules kMinicpm5Words = {.digits = kNoLimit};
// As Llama 3, but \s{512}(?!\S)|\s{256}(?!\S)|...|\s{4}(?!\S)|\s{1,2}(?!\S)|\s{1} for spaces.
inline constexpr WordRules kJais2Words = {.digits = 3, .spaces = Spaces::kPowersOfTwo};

inline constexpr CodePointRange kCjkOfDeepseek[] = {{0x0800, 0x9FA5}, {0xAC00, 0xD7FF}};  // [一-龥ࠀ-一가-퟿]
inline constexpr CodePointRange kHanAndKana[] = {{0x4E00, 0x9FA5}, {0x3040, 0x30FF}};     // [一-龥぀-ゟ゠-ヿ]
// DeepSeek lists the cased letters of its days one by one; these came later or were left out.
inline constexpr CodePointRange kUnlistedCased[] = {
    {0x0560, 0x0588}, {0x10C7, 0x10CD},   {0x10D0, 0x10FF},   {0x1C80, 0x1C88},   {0x2D00, 0x2D2D},  {0xA790, 0xA7FA},
    {0xAB30, 0xAB68}, {0x10570, 0x105BC}, {0x16E40, 0x16E7F}, {0x1D400, 0x1D7CB}, {0x1DF00, 0x1DF2A}};
// [!-/:-~！-／：-～‘-‟　-。], but U+3000 is a space and nothing else, as llama.cpp has it.
inline constexpr CodePointRange kPunctuationOfDeepseek[] = {{0x21, 0x2F},     {0x3A, 0x7E},     {0xFF01, 0xFF0F},
                                                            {0xFF1A, 0xFF5E}, {0x2018, 0x201F}, {0x3001, 0x3002}};
// [가-힣ㄱ-ㆎ], [！…“”‘’—：；，、-〿︰-﹏], [ㄅ-ㄯ]
inline constexpr CodePointRange kHangul[] = {{0xAC00, 0xD7A3}, {0x3131, 0x318E}};
inline constexpr CodePointRange kPunctuationOfYoutu[] = {{0xFF01, 0xFF01}, {0x2026, 0x2026}, {0x201C, 0x201D},
                                                         {0x2018, 0x2019}, {0x2014, 0x2014}, {0xFF1A, 0xFF1B},
                                                         {0xFF0C, 0xFF0C}, {0x3001, 0x303F}, {0xFE30, 0xFE4F}};
inline constexpr CodePointRange kBopomofo[] = {{0x3105, 0x312F}};
// [一-鿿㐀-䶿豈-﫿぀-ゟ゠-ヿ･-ﾟ⼀-⿟เ-๿຀-໿ក-៿က-႟ꩠ-ꩿꧠ-꧿가-힯ᄀ-ᇿ]
inline constexpr CodePointRange kScriptsOfAfmoe[] = {
    {0x4E00, 0x9FFF}, {0x3400, 0x4DBF}, {0xF900, 0xFAFF}, {0x3040, 0x30FF}, {0xFF65, 0xFF9F},
    {0x2F00, 0x2FDF}, {0x0E40, 0x0EFF}, {0x1780, 0x17FF}, {0x1000, 0x109F}, {0xAA60, 0xAA7F},
    {0xA9E0, 0xA9FF}, {0xAC00, 0xD7AF}, {0x1100, 0x11FF}};
// [^(\s|.,!?…。，、।۔،)]
inline constexpr CodePointRange kStopsOfBloom[] = {{0x2026, 0x2026}, {0x3002, 0x3002}, {0xFF0C, 0xFF0C},
                                                   {0x3001, 0x3001}, {0x0964, 0x0964}, {0x06D4, 0x06D4},
                                                   {0x060C, 0x060C}};

inline constexpr RunRules kEachNewline = {.set = {.ascii = "\r\n"}, .most = 1};
inline constexpr RunRules kLineFeeds = {.set = {.ascii = "\n"}};
inline constexpr RunRules kNumbers = {.set = {.kinds = kNumber}};
inline constexpr RunRules kEachNumber = {.set = {.kinds = kNumber}, .most = 1};
inline constexpr RunRules kUpToThreeNumbers = {.set = {.kinds = kNumber}, .most = 3};
inline constexpr RunRules kThreeAsciiDigits = {.set = {.ascii = "0123456789"}, .least = 3, .most = 3};
inline constexpr RunRules kFalconPunctuation = {.set = {.kinds = kPunctuation, .ascii = "$+<=>^~|`"}};
inline constexpr RunRules kDefaultPunctuation = {.set = {.kinds = kPunctuation, .ascii = "$+<=>^~|"}};
inline constexpr RunRules kDeepseekCased = {.set = {.kinds = kCased, .exceptions = kUnlistedCased},
                                            .lead = Lead::kWhiteSpace};
inline constexpr RunRules kDeepseekPunctuation = {.set = {.ranges = kPunctuationOfDeepseek}, .lead = Lead::kWhiteSpace};
inline constexpr RunRules kDeepseekCjk = {.set = {.ranges = kCjkOfDeepseek}};
inline constexpr RunRules kCoderLetters = {.set = {.kinds = kLetter}, .lead = Lead::kWhiteSpace};
inline constexpr RunRules kCoderPunctuation = {.set = {.kinds = kPunctuation}, .lead = Lead::kWhiteSpace};
inline constexpr RunRules kHanAndKanaRuns = {.set = {.ranges = kHanAndKana}};
inline constexpr RunRules kHangulRuns = {.set = {.ranges = kHangul}};
inline constexpr RunRules kYoutuPunctuation = {.set = {.ranges = kPunctuationOfYoutu}};
inline constexpr RunRules kBopomofoRuns = {.set = {.ranges = kBopomofo}};
inline constexpr RunRules kAfmoeScripts = {.set = {.ranges = kScriptsOfAfmoe}};
inline constexpr RunRules kBloomWords = {
    .set = {.kinds = kWhiteSpace, .ascii = "(|.,!?)", .ranges = kStopsOfBloom, .inverted = true}, .lead = Lead::kSpace};

constexpr PatternStage Runs(const RunRules& rules) { return {StageKind::kRuns, &rules, nullptr}; }
constexpr PatternStage Words(const WordRules& rules) { return {StageKind::kWords, nullptr, &rules}; }
constexpr PatternStage Threes(const RunRules& rules) { return {StageKind::kThreesFromTheEnd, &rules, nullptr}; }

inline constexpr PatternStage kDefaultPattern[] = {Runs(kDefaultPunctuation), Words(kGpt2Words), Runs(kNumbers),
                                                   Runs(kThreeAsciiDigits)};
inline constexpr PatternStage kGpt2Pattern[] = {Words(kGpt2Words)};
inline constexpr PatternStage kStarcoderPattern[] = {Runs(kEachNumber), Words(kGpt2Words)};
inline constexpr PatternStage kFalconPattern[] = {Runs(kFalconPunctuation), Words(kGpt2Words), Runs(kThreeAsciiDigits)};
inline constexpr PatternStage kLlama3Pattern[] = {Words(kLlama3Words)};
inline constexpr PatternStage kQwen2Pattern[] = {Words(kQwen2Words)};
inline constexpr PatternStage kQwen35Pattern[] = {Words(kQwen35Words)};
inline constexpr PatternStage kDeepseekLlmPattern[] = {Runs(kEachNewline),         Runs(kDeepseekCased),
                                                       Runs(kDeepseekPunctuation), {StageKind::kTrailingSpace},
                                                       Runs(kDeepseekCjk),         Runs(kNumbers)};
inline constexpr PatternStage kDeepseekCoderPattern[] = {
    Runs(kEachNewline), Runs(kCoderLetters), Runs(kCoderPunctuation), Runs(kDeepseekCjk), Runs(kEachNumber)};
inline constexpr PatternStage kDeepseek3Pattern[] = {Runs(kUpToThreeNumbers), Runs(kHanAndKanaRuns),
                                                     Words(kDeepseek3Words)};
inline constexpr PatternStage kSparkPattern[] = {Runs(kUpToThreeNumbers), Runs(kHanAndKanaRuns), Words(kSparkWords),
                                                 Runs(kEachNumber)};
inline constexpr PatternStage kYoutuPattern[] = {Runs(kHangulRuns), Runs(kYoutuPunctuation), Runs(kBopomofoRuns),
                                                 Runs(kHanAndKanaRuns), Words(kYoutuWords)};
inline constexpr PatternStage kBloomPattern[] = {Runs(kBloomWords)};
inline constexpr PatternStage kVikingPattern[] = {Runs(kBloomWords), Runs(kEachNumber)};
inline constexpr PatternStage kTekkenPattern[] = {Words(kTekkenWords)};
inline constexpr PatternStage kO200kPattern[] = {Words(kO200kWords)};
inline constexpr PatternStage kTinyAyaPattern[] = {Threes(kNumbers), Words(kO200kWords)};
inline constexpr PatternStage kSuperBpePattern[] = {Runs(kNumbers), Threes(kNumbers)};
inline constexpr PatternStage kSeedCoderPattern[] = {Words(kSeedCoderWords)};
inline constexpr PatternStage kUfakzekaPattern[] = {Words(kUfakzekaWords)};
inline constexpr PatternStage kAfmoePattern[] = {Threes(kNumbers), Runs(kAfmoeScripts), Words(kDeepseek3Words)};
inline constexpr PatternStage kLagunaPattern[] = {Runs(kLineFeeds), Words(kQwen2Words)};
inline constexpr PatternStage kExaoneMoePattern[] = {Words(kExaoneMoeWords)};
inline constexpr PatternStage kGemma4Pattern[] = {Runs(kLineFeeds)};
inline constexpr PatternStage kMinicpm5Pattern[] = {Runs(kUpToThreeNumbers), Words(kMinicpm5Words)};
inline constexpr PatternStage kJais2Pattern[] = {Words(kJais2Words)};

}  // namespace detail

// A pre-tokeniser, by the name that files give it in "tokenizer.ggml.pre", and what else the name says.
struct PreTokenizer {
  static constexpr std::uint8_t kWholeWordsFirst = 1;     // a word that is a piece becomes it, whatever the merges say
  static constexpr std::uint8_t kAddsBos = 2;             // unless the file says otherwise
  static constexpr std::uint8_t kAlwaysAddsBos = 4;       // whatever the file says: files of this kind say it wrongly
  static constexpr std::uint8_t kAddsSeparator = 8;       // unless the file says otherwise
  static constexpr std::uint8_t kKeepsSpaces = 16;        // see Tokenizer::cleans_spaces
  static constexpr std::uint8_t kMarksSpaces = 32;        // pieces are text with U+2581 for spaces, not mapped bytes
  static constexpr std::uint8_t kLineFeedRunsFirst = 64;  // kWholeWordsFirst for runs of line feeds only

  std::string_view name;
  detail::Pattern pattern;
  std::uint8_t flags = 0;

  bool Has(std::uint8_t flag) const { return (flags & flag) != 0; }

  // nullptr for a name that this library does not know.
  static const PreTokenizer* Find(std::string_view name);
};

namespace detail {

inline constexpr std::uint8_t kWhole = PreTokenizer::kWholeWordsFirst;
inline constexpr std::uint8_t kBos = PreTokenizer::kAddsBos;
inline constexpr std::uint8_t kSep = PreTokenizer::kAddsSeparator;
inline constexpr std::uint8_t kKeep = PreTokenizer::kKeepsSpaces;
inline constexpr std::uint8_t kMarks = PreTokenizer::kMarksSpaces;
inline constexpr std::uint8_t kGemma = kMarks | PreTokenizer::kAlwaysAddsBos | PreTokenizer::kLineFeedRunsFirst;

// Several names for one pattern are models that share a tokeniser.
inline constexpr PreTokenizer kPreTokenizers[] = {
    {"default", kDefaultPattern},
    {"llama3", kLlama3Pattern, kWhole | kBos},
    {"llama-v3", kLlama3Pattern, kWhole | kBos},
    {"llama-bpe", kLlama3Pattern, kWhole | kBos},
    {"falcon3", kLlama3Pattern, kWhole | kBos},
    {"falcon-h1", kLlama3Pattern, kWhole | kBos},
    {"pixtral", kLlama3Pattern, kWhole | kBos},
    {"midm-2.0", kLlama3Pattern, kWhole | kBos},
    {"lfm2", kLlama3Pattern, kWhole | kBos},
    {"jina-v5-nano", kLlama3Pattern, kWhole | kBos},
    {"dbrx", kLlama3Pattern},
    {"smaug-bpe", kLlama3Pattern},
    {"glm4", kLlama3Pattern},
    {"chatglm-bpe", kLlama3Pattern},
    {"minicpm5", kMinicpm5Pattern, kWhole},
    {"jais-2", kJais2Pattern},
    {"deepseek-llm", kDeepseekLlmPattern, kKeep},
    {"deepseek-coder", kDeepseekCoderPattern, kKeep},
    {"deepseek-v3", kDeepseek3Pattern, kKeep},
    {"hunyuan-dense", kDeepseek3Pattern, kKeep},
    {"joyai-llm", kDeepseek3Pattern, kKeep},
    {"hy_v4", kDeepseek3Pattern, kKeep},
    {"spark2_5", kSparkPattern, kKeep},
    {"youtu", kYoutuPattern, kKeep | kWhole},
    {"falcon", kFalconPattern},
    {"starcoder", kStarcoderPattern},
    {"refact", kStarcoderPattern},
    {"command-r", kStarcoderPattern, kKeep},
    {"smollm", kStarcoderPattern, kKeep},
    {"codeshell", kStarcoderPattern},
    {"exaone", kStarcoderPattern},
    {"minerva-7b", kStarcoderPattern},
    {"mellum2", kStarcoderPattern},
    {"gpt-2", kGpt2Pattern},
    {"phi-2", kGpt2Pattern},
    {"mpt", kGpt2Pattern},
    {"olmo", kGpt2Pattern},
    {"jais", kGpt2Pattern},
    {"jina-es", kGpt2Pattern},
    {"jina-de", kGpt2Pattern},
    {"jina-v2-es", kGpt2Pattern},
    {"jina-v2-de", kGpt2Pattern},
    {"gigachat", kGpt2Pattern},
    {"a.x-4.0", kGpt2Pattern},
    {"mellum", kGpt2Pattern},
    {"modern-bert", kGpt2Pattern},
    {"exaone4", kGpt2Pattern},
    {"jina-v1-en", kGpt2Pattern, kSep},
    {"jina-v2-code", kGpt2Pattern, kSep},
    {"roberta-bpe", kGpt2Pattern, kSep},
    {"trillion", kGpt2Pattern, kKeep},
    {"granite-docling", kGpt2Pattern, kKeep},
    {"qwen2", kQwen2Pattern, kKeep},
    {"deepseek-r1-qwen", kQwen2Pattern, kKeep},
    {"kormo", kQwen2Pattern, kKeep},
    {"f2llmv2", kQwen2Pattern, kKeep},
    {"hunyuan", kQwen2Pattern, kKeep},
    {"solar-open", kQwen2Pattern, kKeep},
    {"grok-2", kQwen2Pattern, kKeep},
    {"bailingmoe", kQwen2Pattern, kKeep},
    {"bailingmoe2", kQwen2Pattern, kKeep},
    {"llada-moe", kQwen2Pattern, kKeep},
    {"stablelm2", kQwen2Pattern},
    {"megrez", kQwen2Pattern},
    {"qwen35", kQwen35Pattern, kKeep},
    {"poro-chat", kBloomPattern, kKeep},
    {"bloom", kBloomPattern},
    {"gpt3-finnish", kBloomPattern},
    {"viking", kVikingPattern, kKeep},
    {"tekken", kTekkenPattern, kKeep | kWhole | kBos},
    {"gpt-4o", kO200kPattern, kKeep},
    {"llama4", kO200kPattern, kKeep},
    {"kanana2", kO200kPattern, kKeep},
    {"talkie", kO200kPattern, kKeep},
    {"minimax-m2", kO200kPattern, kKeep},
    {"granite-embed-multi-97m", kO200kPattern, kKeep | kWhole},
    {"tiny_aya", kTinyAyaPattern, kKeep},
    {"cohere2moe", kTinyAyaPattern, kKeep},
    {"superbpe", kSuperBpePattern, kKeep},
    {"seed-coder", kSeedCoderPattern, kKeep},
    {"ufakzeka", kUfakzekaPattern, kKeep},
    {"afmoe", kAfmoePattern, kKeep},
    {"laguna", kLagunaPattern, kKeep},
    {"exaone-moe", kExaoneMoePattern},
    {"gemma4", kGemma4Pattern, kGemma},
    {"granite-embed-multi-311m", kGemma4Pattern, kGemma},
    {"sarvam-moe", kGemma4Pattern, kMarks | kKeep},
};

}  // namespace detail

inline const PreTokenizer* PreTokenizer::Find(std::string_view name) {
  for (const PreTokenizer& candidate : detail::kPreTokenizers) {
    if (candidate.name == name) return &candidate;
  }
  return nullptr;
}

// Gives the words of a text one after the other; together they are the text. Time linear in the text, constant memory.
class WordSplitter {
 public:
  WordSplitter(const PreTokenizer& rules, std::string_view text) : pattern_(rules.pattern), text_(text) {
    levels_[0] = {.end = text.size()};
    Enter(0);
  }

  // The next word, never empty; false at the end of the text.
  bool Next(std::string_view& word) {
    const std::size_t last = pattern_.size() - 1;
    for (;;) {
      Level& level = levels_[depth_];
      if (level.at == level.end) {
        if (depth_ == 0) return false;
        --depth_;
        continue;
      }
      const std::size_t begin = level.at;
      level.at = PieceEnd(level);
      if (depth_ == last) {
        word = text_.substr(begin, level.at - begin);
        return true;
      }
      const std::size_t end = level.at;
      levels_[++depth_] = {.at = begin, .end = end};
      Enter(depth_);
    }
  }

 private:
  // The piece of the stage before that a stage cuts up.
  struct Level {
    std::size_t at = 0;         // where the rest of the piece starts
    std::size_t end = 0;        // of the piece
    std::size_t match_end = 0;  // of the match that starts at `at`, when it was found with the gap before it
    // What was seen beyond a match, so that nothing is looked at again and again. kTrailingSpace: where it starts.
    // kThreesFromTheEnd: where the digits end. kPowersOfTwo: where the spaces end, and how many are left.
    std::size_t mark = 0;
    std::size_t count = 0;
  };

  void Enter(std::size_t depth) {
    Level& level = levels_[depth];
    if (pattern_[depth].kind != detail::StageKind::kTrailingSpace) return;
    level.mark = level.at;
    for (std::size_t at = level.at; at < level.end;) {
      const Character c = At(at, level.end);
      at += c.size;
      if (!c.Is(kWhiteSpace)) level.mark = at;
    }
  }

  // A match at the start of the rest, or everything before the next match.
  std::size_t PieceEnd(Level& level) {
    if (level.match_end > level.at) return level.match_end;
    for (std::size_t at = level.at; at < level.end;) {
      const std::size_t match = Match(level, at);
      if (match > at) {
        if (at == level.at) return match;
        level.match_end = match;
        return at;
      }
      at += At(at, level.end).size;
    }
    return level.end;
  }

  // The end of the match that starts at `at`; `at` when there is none.
  std::size_t Match(Level& level, std::size_t at) const {
    const detail::PatternStage& stage = pattern_[depth_];
    switch (stage.kind) {
      case detail::StageKind::kRuns: return MatchRun(*stage.runs, at, level.end);
      case detail::StageKind::kWords: return MatchWord(*stage.words, level, at);
      case detail::StageKind::kTrailingSpace: return at == level.mark ? level.end : at;
      case detail::StageKind::kThreesFromTheEnd: return MatchThree(*stage.runs, level, at);
    }
    return at;
  }

  // The character at `at`; of no kind and no size at the end of the piece.
  Character At(std::size_t at, std::size_t end) const {
    if (at >= end) return {0, 0, 0};
    const std::uint8_t first = static_cast<std::uint8_t>(text_[at]);
    if (first < 128) return {first, 1, detail::kAsciiKinds[first]};
    return ReadCharacter(text_.substr(at, end - at));
  }
  std::size_t Skip(CharacterKinds kinds, std::size_t at, std::size_t end) const {
    for (;;) {
      const Character c = At(at, end);
      if (!c.Is(kinds)) return at;
      at += c.size;
    }
  }
  static bool IsNewline(const Character& c) { return c.code_point == '\r' || c.code_point == '\n'; }
  static bool IsSpace(const Character& c) { return c.code_point == ' '; }

  std::size_t MatchRun(const detail::RunRules& rules, std::size_t begin, std::size_t end) const {
    std::size_t at = begin;
    if (rules.lead != detail::Lead::kNone) {
      const Character lead = At(begin, end);
      const bool fits = rules.lead == detail::Lead::kSpace ? IsSpace(lead) : lead.Is(kWhiteSpace);
      if (fits && rules.set.Has(At(begin + lead.size, end))) at += lead.size;
    }
    std::uint32_t count = 0;
    for (; count < rules.most; ++count) {
      const Character c = At(at, end);
      if (!rules.set.Has(c)) break;
      at += c.size;
    }
    return count < rules.least ? begin : at;
  }

  std::size_t MatchThree(const detail::RunRules& rules, Level& level, std::size_t begin) const {
    std::size_t take = 3;
    if (begin >= level.mark) {
      std::size_t count = 0;
      std::size_t at = begin;
      for (Character c = At(at, level.end); rules.set.Has(c); c = At(at, level.end)) {
        at += c.size;
        ++count;
      }
      if (count == 0) return begin;
      level.mark = at;
      if (count % 3 != 0) take = count % 3;
    }
    std::size_t at = begin;
    while (take-- != 0) at += At(at, level.end).size;
    return at;
  }

  std::size_t MatchWord(const detail::WordRules& rules, Level& level, std::size_t at) const {
    const std::size_t end = level.end;
    const Character first = At(at, end);
    const std::size_t second_at = at + first.size;
    if (rules.contractions == detail::Contractions::kSmall || rules.contractions == detail::Contractions::kAnyCase) {
      const std::size_t contraction = ContractionEnd(rules.contractions, at, end);
      if (contraction != at) return contraction;
    }
    if (rules.ascii_punctuation_word && first.code_point < 128 && first.Is(kPunctuation | kSymbol)) {
      std::size_t letters_end = second_at;
      while (letters_end < end && IsAsciiLetter(text_[letters_end])) ++letters_end;
      if (letters_end != second_at) return letters_end;
    }
    const std::size_t word_end = LettersEnd(rules, first, at, end);
    if (word_end != at) return word_end;

    const Character second = At(second_at, end);
    if (rules.digits != 0) {
      const bool space = rules.space_before_digits && IsSpace(first) && second.Is(kNumber);
      if (space || first.Is(kNumber)) {
        std::size_t digits_end = space ? second_at : at;
        for (std::uint32_t count = 0; count < rules.digits; ++count) {
          const Character c = At(digits_end, end);
          if (!c.Is(kNumber)) break;
          digits_end += c.size;
        }
        return digits_end;
      }
    }
    if (first.Is(rules.punctuation) || (IsSpace(first) && second.Is(rules.punctuation))) {
      return TailEnd(rules.tail, Skip(rules.punctuation, second_at, end), end);
    }
    if (rules.newlines == detail::Newlines::kSingle && IsNewline(first)) return second_at;
    if (!first.Is(kWhiteSpace)) return at;
    return rules.spaces == detail::Spaces::kPowersOfTwo ? PowerOfTwoSpacesEnd(level, at) : SpacesEnd(rules, at, end);
  }

  static bool IsAsciiLetter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

  // The end of 's, 't, 'm, 'd, 're, 've, 'll at `at`; `at` where there is none.
  std::size_t ContractionEnd(detail::Contractions kind, std::size_t at, std::size_t end) const {
    if (at + 2 > end || text_[at] != '\'') return at;
    const auto letter = [&](std::size_t i) {
      const char c = i < end ? text_[i] : '\0';
      return kind != detail::Contractions::kSmall && c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    };
    const char first = letter(at + 1);
    if (first == 's' || first == 't' || first == 'm' || first == 'd') return at + 2;
    const char second = letter(at + 2);
    const bool two =
        (first == 'r' && second == 'e') || (first == 'v' && second == 'e') || (first == 'l' && second == 'l');
    return two ? at + 3 : at;
  }

  std::size_t LettersEnd(const detail::WordRules& rules, const Character& first, std::size_t at,
                         std::size_t end) const {
    const std::size_t next = at + first.size;
    const bool may_lead =
        rules.prefix == detail::Prefix::kSpace ? IsSpace(first) : !IsNewline(first) && !first.Is(rules.no_prefix);
    switch (rules.shape) {
      case detail::Shape::kRun:
        if (first.Is(rules.letters) || (may_lead && At(next, end).Is(rules.letters))) {
          return Skip(rules.letters, next, end);
        }
        return at;
      case detail::Shape::kPhrase:
        if (first.Is(kLetter)) return PhraseEnd(next, end);
        if (may_lead && At(next, end).Is(kLetter)) return PhraseEnd(next, end);
        return at;
      case detail::Shape::kCased: break;
    }
    // The alternatives in the order of the expression, each with the prefix first.
    std::size_t word_end = may_lead ? SmallLettersEnd(next, end) : next;
    if (word_end == next) word_end = SmallLettersEnd(at, end);
    if (word_end == at && may_lead) {
      const std::size_t capitals = Skip(kCapitals, next, end);
      if (capitals != next) word_end = capitals;
    }
    if (word_end == at) word_end = Skip(kCapitals, at, end);
    if (word_end == at || rules.contractions != detail::Contractions::kAfterWord) return word_end;
    return ContractionEnd(rules.contractions, word_end, end);
  }

  std::size_t PhraseEnd(std::size_t at, std::size_t end) const {
    for (;;) {
      at = Skip(kLetter | kMark, at, end);
      if (at == end || text_[at] != ' ' || !At(at + 1, end).Is(kLetter)) return at;
      ++at;
    }
  }

  static constexpr CharacterKinds kEitherCase = kModifierLetter | kOtherLetter | kMark;
  static constexpr CharacterKinds kCapitals = kUpperLetter | kTitleLetter | kEitherCase;
  static constexpr CharacterKinds kSmallLetters = kLowerLetter | kEitherCase;

  // Capitals*small+, which may give back capitals up to the last one that counts as either; `at` where it is not.
  std::size_t SmallLettersEnd(std::size_t at, std::size_t end) const {
    std::size_t last_either = at;
    std::size_t next = at;
    for (;;) {
      const Character c = At(next, end);
      if (!c.Is(kCapitals)) break;
      next += c.size;
      if (c.Is(kEitherCase)) last_either = next;
    }
    const std::size_t small_end = Skip(kSmallLetters, next, end);
    return small_end != next ? small_end : last_either;
  }

  std::size_t TailEnd(detail::Tail tail, std::size_t at, std::size_t end) const {
    const auto is_tail = [&](std::size_t i) {
      return i < end && (text_[i] == '\r' || text_[i] == '\n' || (tail != detail::Tail::kNewlines && text_[i] == '/'));
    };
    switch (tail) {
      case detail::Tail::kNone: break;
      case detail::Tail::kOneNewlineOrSlash: return is_tail(at) ? at + 1 : at;
      case detail::Tail::kNewlines:
      case detail::Tail::kNewlinesAndSlashes:
        while (is_tail(at)) ++at;
    }
    return at;
  }

  // What begins with white space and is nothing else: up to the last line break in it; else all of it at the end of the
  // piece, or all but the last character (which the next word may take).
  std::size_t SpacesEnd(const detail::WordRules& rules, std::size_t begin, std::size_t end) const {
    std::size_t newlines_end = begin;
    std::size_t last = begin;
    std::size_t at = begin;
    for (;;) {
      const Character c = At(at, end);
      if (!c.Is(kWhiteSpace)) break;
      last = at;
      at += c.size;
      if (IsNewline(c)) newlines_end = at;
    }
    if (rules.newlines == detail::Newlines::kOwnRun && newlines_end != begin) return newlines_end;
    return at == end || last == begin ? at : last;
  }

  std::size_t PowerOfTwoSpacesEnd(Level& level, std::size_t begin) const {
    if (begin >= level.mark) {
      std::size_t newlines_end = begin;
      std::size_t at = begin;
      level.count = 0;
      for (Character c = At(at, level.end); c.Is(kWhiteSpace); c = At(at, level.end)) {
        at += c.size;
        ++level.count;
        if (IsNewline(c)) newlines_end = at;
      }
      if (newlines_end != begin) return newlines_end;
      level.mark = at;
    }
    // The last one is left to the next word.
    const std::size_t free = level.mark != level.end && level.count > 1 ? level.count - 1 : level.count;
    std::size_t take = 512;
    while (take > free) take /= 2;
    level.count -= take;
    std::size_t at = begin;
    while (take-- != 0) at += At(at, level.end).size;
    return at;
  }

  detail::Pattern pattern_;
  std::string_view text_;
  std::array<Level, detail::kMaxStages> levels_{};
  std::size_t depth_ = 0;
};

INLAY_END_NAMESPACE

#endif  // INLAY_TEXT_PRE_TOKENIZER_HPP_
