// Opening vocabularies (also broken ones), special tokens, limits. The algorithm has its own test.
#define BOOST_TEST_DYN_LINK
#include <boost/test/unit_test.hpp>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "inlay/generate/random.hpp"
#include "inlay/text/tokenizer.hpp"
#include "tests/text/small_vocab.hpp"

namespace {

using inlay::ErrorCode;
using inlay::TokenId;
using inlay_test::Encode;
using inlay_test::IdOf;
using inlay_test::OpenTokenizer;
using inlay_test::TokenIds;
using inlay_test::VocabFile;

// What a user does with a tokenizer, so that a sanitizer sees every access that a broken file could lead astray.
void Use(const inlay::Tokenizer& tokenizer) {
  constexpr std::string_view kText = " abc aa<s>[x] \xC3\xA9\xFF";
  std::vector<std::byte> scratch(tokenizer.EncodeScratchBytes(kText.size()));
  TokenId ids[64];
  for (const bool parse_special : {true, false}) {
    const auto count = tokenizer.Encode(kText, {.add_special = true, .parse_special = parse_special}, scratch, ids);
    if (!count) {
      BOOST_REQUIRE((count.error().code == ErrorCode::kMissing || count.error().code == ErrorCode::kTooLarge));
      continue;
    }
    for (std::size_t i = 0; i < *count; ++i) BOOST_REQUIRE(tokenizer.vocabulary().Contains(ids[i]));
  }
  char piece[inlay::Vocabulary::kMaxPieceBytes];
  for (std::size_t i = 0; i < tokenizer.size(); ++i) {
    const auto size = tokenizer.Decode(static_cast<TokenId>(i), piece, true);
    BOOST_REQUIRE(size);
    BOOST_REQUIRE(*size <= tokenizer.max_piece_bytes());
  }
}

inlay::Error ErrorOf(const OpenTokenizer& tokenizer) {
  BOOST_REQUIRE(!tokenizer);
  return tokenizer.error();
}

}  // namespace

BOOST_AUTO_TEST_SUITE(text_tokenizer)

BOOST_AUTO_TEST_CASE(FactsOfTheFile) {
  VocabFile file;
  const OpenTokenizer plain = OpenTokenizer::Gguf(file);
  BOOST_REQUIRE_MESSAGE(plain, plain.Why());
  BOOST_TEST(plain->size() == file.tokens.size());
  // Defaults of this algorithm.
  BOOST_TEST(plain->bos() == 1);
  BOOST_TEST(plain->eos() == 2);
  BOOST_TEST(plain->special().unknown == 0);
  BOOST_TEST(plain->special().padding == inlay::kNoToken);
  BOOST_TEST(plain->add_bos());
  BOOST_TEST(!plain->add_eos());
  BOOST_TEST(plain->add_space_prefix());
  BOOST_TEST(plain->RawPiece(1) == "<s>");
  BOOST_TEST(plain->RawPiece(-1) == "");
  BOOST_TEST(plain->RawPiece(static_cast<TokenId>(file.tokens.size())) == "");
  // "<|end|>" ends a turn without a key that says so.
  const TokenId end = IdOf(file.tokens, "<|end|>");
  BOOST_TEST(plain->special().eot == end);
  for (TokenId id = 0; plain->vocabulary().Contains(id); ++id) {
    BOOST_TEST(plain->EndsGeneration(id) == (id == 2 || id == end));
  }
  BOOST_TEST(!plain->EndsGeneration(-1));
  BOOST_TEST(!plain->EndsGeneration(static_cast<TokenId>(file.tokens.size())));

  file.Id("tokenizer.ggml.bos_token_id", 5)
      .Id("tokenizer.ggml.eos_token_id", 6)
      .Id("tokenizer.ggml.unknown_token_id", 7)
      .Id("tokenizer.ggml.eot_token_id", 8)
      .Id("tokenizer.ggml.eom_token_id", 9)
      .Id("tokenizer.ggml.padding_token_id", 10)
      .Flag("tokenizer.ggml.add_bos_token", false)
      .Flag("tokenizer.ggml.add_eos_token", true)
      .Flag("tokenizer.ggml.add_space_prefix", false);
  const OpenTokenizer other = OpenTokenizer::Gguf(file);
  BOOST_REQUIRE_MESSAGE(other, other.Why());
  BOOST_TEST(other->bos() == 5);
  BOOST_TEST(other->eos() == 6);
  BOOST_TEST(other->special().unknown == 7);
  BOOST_TEST(other->special().eot == 8);
  BOOST_TEST(other->special().padding == 10);
  BOOST_TEST(!other->add_bos());
  for (const TokenId id : {6, 8, 9}) BOOST_TEST(other->EndsGeneration(id));
  BOOST_TEST(Encode(*other, "b") == (TokenIds{IdOf(file.tokens, "b")}), boost::test_tools::per_element());
  BOOST_TEST(Encode(*other, "", {}) == (TokenIds{6}), boost::test_tools::per_element());
  BOOST_TEST(Encode(*other, "b", {}) == (TokenIds{IdOf(file.tokens, "b"), 6}), boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(SpecialTokensInText) {
  const VocabFile file;
  const OpenTokenizer tokenizer = OpenTokenizer::Gguf(file);
  BOOST_REQUIRE_MESSAGE(tokenizer, tokenizer.Why());
  const auto id = [&](std::string_view piece) { return IdOf(file.tokens, piece); };
  const auto check = [&](std::string_view text, bool parse_special, const TokenIds& expected) {
    BOOST_TEST(Encode(*tokenizer, text, {.add_special = false, .parse_special = parse_special}) == expected,
               boost::test_tools::per_element());
  };
  const TokenId space = id("\xE2\x96\x81"), space_a =
                                                id("\xE2\x96\x81"
                                                   "a");
  // User-defined ones always; text after a special one begins like text at the start.
  check("[x]a", false, {id("[x]"), space_a});
  check("a[x]a", false, {space_a, id("[x]"), space_a});
  // The longest that starts at a place.
  check("[x][y]", false, {id("[x][y]")});
  check("[x][x][y]", true, {id("[x]"), id("[x][y]")});
  // Control tokens only when asked.
  check("</s>", true, {2});
  check("a<s>a", true, {space_a, 1, space_a});
  check("<unk>", true, {0});
  check("<|end|>", true, {id("<|end|>")});
  check("<|a", true, {id("<|"), space_a});
  // Never by joining pieces, although "<" and "s>" are pieces and "<s>" has the best score of all.
  check("<s>", false, {space, id("<"), id("s>")});
  check("</s>", false, {space, id("</"), id("s>")});
  check("<0x41>", true, {space, id("<"), 3 + '0', 3 + 'x', 3 + '4', 3 + '1', id(">")});
  // Unused ones are ordinary text that happens to have no letters of its own here.
  check("", true, {});
  BOOST_TEST(Encode(*tokenizer, "a", {.add_special = true}) == (TokenIds{1, space_a}),
             boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(ControlTokensNeverComeFromText) {
  // Every way to cut the text of a control token into pieces exists, with the best scores for the control tokens.
  VocabFile file;
  for (const char* piece : {"<s>a", "|", "|e", "<|e", "n", "nd", "<|en", "d|", "d|>", "|>", "<|end|"}) {
    file.tokens.push_back({piece, 50, inlay_test::kNormal});
  }
  for (auto& token : file.tokens) {
    if (token.type == inlay_test::kControl) token.score = 100;
  }
  const OpenTokenizer tokenizer = OpenTokenizer::Gguf(file);
  BOOST_REQUIRE_MESSAGE(tokenizer, tokenizer.Why());
  inlay::Pcg32 random(3);
  for (int round = 0; round < 2000; ++round) {
    std::string text;
    const char* parts[] = {"<s>", "</s>", "<|", "end", "|>", "<|end|>", "<unk>", "<0x0A>", "a", " "};
    for (std::uint32_t i = random.Next() % 8; i != 0; --i) text += parts[random.Next() % 10];
    for (const TokenId id : Encode(*tokenizer, text)) {
      BOOST_TEST((tokenizer->vocabulary().Attributes(id) & (inlay::kTokenControl | inlay::kTokenUnknown)) == 0);
    }
  }
}

BOOST_AUTO_TEST_CASE(Phi3StripsWhiteSpaceAfterItsMarkers) {
  VocabFile file;
  file.Text("general.name", "My PHI-3 mini");
  const OpenTokenizer tokenizer = OpenTokenizer::Gguf(file);
  BOOST_REQUIRE_MESSAGE(tokenizer, tokenizer.Why());
  const TokenId end = IdOf(file.tokens, "<|end|>"), space_a = IdOf(file.tokens,
                                                                   "\xE2\x96\x81"
                                                                   "a");
  const TokenId space = IdOf(file.tokens, "\xE2\x96\x81");
  const inlay::EncodeOptions options{.add_special = false, .parse_special = true};
  BOOST_TEST(Encode(*tokenizer, "<|end|> \t\n\v\f\ra", options) == (TokenIds{end, space_a}),
             boost::test_tools::per_element());
  BOOST_TEST(Encode(*tokenizer, "<|end|>\n", options) == (TokenIds{end}), boost::test_tools::per_element());
  BOOST_TEST(Encode(*tokenizer, "<s> a", options) == (TokenIds{1, space, space_a}), boost::test_tools::per_element());
}

// The mask takes the white space before it along, in the models where it does.
BOOST_AUTO_TEST_CASE(MasksStripWhiteSpaceBeforeThem) {
  for (const bool strips : {true, false}) {
    VocabFile file;
    file.tokens.push_back({"<mask>", 0, inlay_test::kControl});
    file.Text("general.architecture", strips ? "nomic-bert-moe" : "llama");
    const OpenTokenizer tokenizer = OpenTokenizer::Gguf(file);
    BOOST_REQUIRE_MESSAGE(tokenizer, tokenizer.Why());
    const TokenId mask = IdOf(file.tokens, "<mask>");
    const auto encode = [&](std::string_view text) {
      return Encode(*tokenizer, text, {.add_special = false, .parse_special = true});
    };
    const TokenIds without = encode("a<mask>b");
    BOOST_TEST((encode("a \t\n<mask>b") == without) == strips);
    BOOST_TEST((encode(" <mask>") == TokenIds{mask}) == strips);
    BOOST_TEST(encode("a<mask> b") != without);
  }
}

BOOST_AUTO_TEST_CASE(SpellingsThatSayMoreThanTypes) {
  const auto open = [](const std::vector<std::string>& pieces, std::int32_t type) {
    VocabFile file;
    for (const std::string& piece : pieces) file.tokens.push_back({piece, 0, type});
    return std::pair(OpenTokenizer::Gguf(file), file.tokens);
  };
  const auto shown = [](const inlay::Tokenizer& tokenizer, TokenId id) {
    char text[32];
    return std::string(text, tokenizer.Decode(id, text).value_or(0));
  };
  {
    // A model that answers in channels: they are seen, and never read from a text; a message is not the end.
    const auto [tokenizer, tokens] = open({"<|channel|>", "<|return|>", "<|call|>"}, inlay_test::kControl);
    const TokenId channel = IdOf(tokens, "<|channel|>"), end = IdOf(tokens, "<|end|>");
    BOOST_TEST(shown(*tokenizer, channel) == "<|channel|>");
    BOOST_TEST(shown(*tokenizer, end) == "<|end|>");
    BOOST_TEST(shown(*tokenizer, IdOf(tokens, "<|return|>")) == "");
    BOOST_TEST(!tokenizer->EndsGeneration(end));
    BOOST_TEST(tokenizer->EndsGeneration(IdOf(tokens, "<|return|>")));
    BOOST_TEST(tokenizer->EndsGeneration(IdOf(tokens, "<|call|>")));
    for (const TokenId id : Encode(*tokenizer, "<|channel|>a<|end|>")) BOOST_TEST((id != channel && id != end));
  }
  {
    // Where a tool answers with a token of its own, "</s>" is text.
    const auto [tokenizer, tokens] = open({"<|tool_response>"}, inlay_test::kControl);
    BOOST_TEST(tokenizer->EndsGeneration(IdOf(tokens, "<|tool_response>")));
    BOOST_TEST(shown(*tokenizer, 2) == "</s>");
  }
  {
    // Control tokens by their spelling, although their type is that of text.
    const auto [tokenizer, tokens] =
        open({"<|im_end|>", "<fim_prefix>", "<fim_pad>", "<|eom_id|>"}, inlay_test::kNormal);
    for (const char* piece : {"<|im_end|>", "<fim_prefix>", "<fim_pad>", "<|eom_id|>"}) {
      const TokenId id = IdOf(tokens, piece);
      BOOST_TEST((tokenizer->vocabulary().Attributes(id) & inlay::kTokenControl) != 0);
      BOOST_TEST(tokenizer->EndsGeneration(id) == (std::string_view(piece) != "<fim_prefix>"));
      for (const TokenId found : Encode(*tokenizer, piece)) BOOST_TEST(found != id);
    }
    BOOST_TEST(tokenizer->special().eom == IdOf(tokens, "<|eom_id|>"));
  }
  {
    const auto [tokenizer, tokens] = open({"<unused7>"}, inlay_test::kControl);
    BOOST_TEST((tokenizer->vocabulary().Attributes(IdOf(tokens, "<unused7>")) & inlay::kTokenUnused) != 0);
  }
}

BOOST_AUTO_TEST_CASE(RoomForTokens) {
  const OpenTokenizer tokenizer = OpenTokenizer::Gguf(VocabFile());
  BOOST_REQUIRE_MESSAGE(tokenizer, tokenizer.Why());
  const std::string text = "abc de[x]fg \xFF";
  const TokenIds expected = Encode(*tokenizer, text, {});
  std::vector<std::byte> scratch(inlay::SentencePieceBpe::ScratchBytes(text.size()));
  for (std::size_t room = 0; room <= expected.size(); ++room) {
    TokenIds ids(room);
    const auto count = tokenizer->Encode(text, {}, scratch, ids);
    BOOST_TEST(count.has_value() == (room == expected.size()));
    BOOST_TEST(ids == TokenIds(expected.begin(), expected.begin() + static_cast<std::ptrdiff_t>(room)),
               boost::test_tools::per_element());
    if (count) continue;
    BOOST_TEST((count.error().code == ErrorCode::kTooLarge));
    BOOST_TEST(count.error().detail.view() ==
               "has " + std::to_string(expected.size()) + " tokens, there is room for " + std::to_string(room));
  }
}

BOOST_AUTO_TEST_CASE(DecodingOneToken) {
  const VocabFile file;
  const OpenTokenizer tokenizer = OpenTokenizer::Gguf(file);
  BOOST_REQUIRE_MESSAGE(tokenizer, tokenizer.Why());
  const auto decode = [&](std::string_view piece, bool special) {
    char text[32] = {};
    const auto size = tokenizer->Decode(IdOf(file.tokens, piece), text, special);
    BOOST_REQUIRE(size);
    return std::string(text, *size);
  };
  for (const bool special : {true, false}) {
    BOOST_TEST(decode("\xE2\x96\x81"
                      "abc",
                      special) == " abc");
    BOOST_TEST(decode("\xE2\x96\x81\xE2\x96\x81", special) == "  ");
    BOOST_TEST(decode("<0x00>", special) == std::string(1, '\0'));
    BOOST_TEST(decode("<0xFF>", special) == "\xFF");
    BOOST_TEST(decode("[x]", special) == "[x]");
    BOOST_TEST(decode("[unused]", special) == "");
  }
  BOOST_TEST(decode("<s>", true) == "<s>");
  BOOST_TEST(decode("<s>", false) == "");
  BOOST_TEST(decode("<unk>", true) == "<unk>");
  BOOST_TEST(decode("<unk>", false) == "");

  char text[4];
  const TokenId longer = IdOf(file.tokens, "defg");
  BOOST_TEST(tokenizer->Decode(longer, text).value_or(0) == 4u);
  BOOST_TEST((tokenizer->Decode(longer, std::span(text).first(3)).error().code == ErrorCode::kTooLarge));
  for (const TokenId id : {-1, static_cast<TokenId>(file.tokens.size()), std::numeric_limits<TokenId>::min(),
                           std::numeric_limits<TokenId>::max()}) {
    BOOST_TEST((tokenizer->Decode(id, text).error().code == ErrorCode::kInvalidArgument));
  }
}

BOOST_AUTO_TEST_CASE(TypesAreInferredWhenAbsent) {
  VocabFile file;
  file.with_types = false;
  const OpenTokenizer tokenizer = OpenTokenizer::Gguf(file);
  BOOST_REQUIRE_MESSAGE(tokenizer, tokenizer.Why());
  const inlay::Vocabulary& vocabulary = tokenizer->vocabulary();
  BOOST_TEST((vocabulary.Attributes(0) & inlay::kTokenUnknown) != 0);
  BOOST_TEST((vocabulary.Attributes(1) & inlay::kTokenControl) != 0);
  BOOST_TEST((vocabulary.Attributes(2) & inlay::kTokenControl) != 0);
  BOOST_TEST(vocabulary.Attributes(3) == inlay::kTokenByte);
  BOOST_TEST(vocabulary.Attributes(260) == inlay::kTokenNormal);
}

BOOST_AUTO_TEST_CASE(BadVocabularies) {
  struct Case {
    std::string what;
    std::function<void(VocabFile&)> spoil;
    ErrorCode code;
    std::string field;
    bool offset;
  };
  const auto number = [](std::string_view key, inlay::GgufType type, auto value) {
    return [=](VocabFile& file) {
      file.extra.Key(key, type).Number(value);
      ++file.extra_count;
    };
  };
  using inlay::GgufType;
  const Case cases[] = {
      {"no tokens", [](VocabFile& f) { f.tokens.clear(); }, ErrorCode::kBadFile, "vocabulary", false},
      {"other model", [](VocabFile& f) { f.model = "rwkv"; }, ErrorCode::kUnsupported, "tokenizer.ggml.model", true},
      {"empty model", [](VocabFile& f) { f.model = ""; }, ErrorCode::kUnsupported, "tokenizer.ggml.model", true},
      {"no scores", [](VocabFile& f) { f.with_scores = false; }, ErrorCode::kMissing, "tokenizer.ggml.scores", false},
      {"NaN score", [](VocabFile& f) { f.tokens[9].score = std::nanf(""); }, ErrorCode::kNonFinite, "vocabulary", true},
      {"infinite score", [](VocabFile& f) { f.tokens[9].score = -INFINITY; }, ErrorCode::kNonFinite, "vocabulary",
       true},
      {"type 7", [](VocabFile& f) { f.tokens[9].type = 7; }, ErrorCode::kBadFile, "tokenizer.ggml.token_type", true},
      {"type -1", [](VocabFile& f) { f.tokens[9].type = -1; }, ErrorCode::kBadFile, "tokenizer.ggml.token_type", true},
      {"byte token without a byte", [](VocabFile& f) { f.tokens[9].piece = "<0x100>"; }, ErrorCode::kBadFile,
       "vocabulary", true},
      {"byte token without hex", [](VocabFile& f) { f.tokens[9].piece = "<0xG0>"; }, ErrorCode::kBadFile, "vocabulary",
       true},
      {"byte twice", [](VocabFile& f) { f.tokens[9].piece = "<0xff>"; }, ErrorCode::kBadFile, "vocabulary", true},
      {"equal pieces", [](VocabFile& f) { f.tokens.back().piece = "abc"; }, ErrorCode::kBadFile, "vocabulary", true},
      {"1 MB token", [](VocabFile& f) { f.tokens.back().piece.assign(1 << 20, 'x'); }, ErrorCode::kTooLarge,
       "vocabulary", true},
      {"piece just too long", [](VocabFile& f) { f.tokens.back().piece.assign(4097, 'x'); }, ErrorCode::kTooLarge,
       "vocabulary", true},
      {"scores of another type",
       [&](VocabFile& f) {
         f.with_scores = false;
         number("tokenizer.ggml.scores", GgufType::kF32, 1.0f)(f);
       },
       ErrorCode::kMismatch, "tokenizer.ggml.scores", true},
      {"too few scores",
       [&](VocabFile& f) {
         f.with_scores = false;
         f.extra.Key("tokenizer.ggml.scores", GgufType::kArray).Type(GgufType::kF32).U64(1).F32(0);
         ++f.extra_count;
       },
       ErrorCode::kMismatch, "tokenizer.ggml.scores", true},
      {"too many types",
       [&](VocabFile& f) {
         f.with_types = false;
         f.extra.Key("tokenizer.ggml.token_type", GgufType::kArray).Type(GgufType::kI32).U64(f.tokens.size() + 1);
         f.extra.Zeros(4 * (f.tokens.size() + 1));
         ++f.extra_count;
       },
       ErrorCode::kMismatch, "tokenizer.ggml.token_type", true},
      {"types of another type",
       [&](VocabFile& f) {
         f.with_types = false;
         f.extra.Key("tokenizer.ggml.token_type", GgufType::kArray).Type(GgufType::kU8).U64(1).U8(1);
         ++f.extra_count;
       },
       ErrorCode::kMismatch, "tokenizer.ggml.token_type", true},
      {"flag of another type", number("tokenizer.ggml.add_bos_token", GgufType::kU32, 1u), ErrorCode::kMismatch,
       "tokenizer.ggml.add_bos_token", true},
      {"id of another type", number("tokenizer.ggml.bos_token_id", GgufType::kF32, 1.0f), ErrorCode::kMismatch,
       "tokenizer.ggml.bos_token_id", true},
      {"negative id", number("tokenizer.ggml.bos_token_id", GgufType::kI32, -1), ErrorCode::kMismatch,
       "tokenizer.ggml.bos_token_id", true},
      {"add_bos without bos",
       [](VocabFile& f) {
         f.tokens.resize(1);
         f.Flag("tokenizer.ggml.add_bos_token", true);
       },
       ErrorCode::kMissing, "tokenizer.ggml.bos_token_id", false},
      {"add_eos without eos",
       [](VocabFile& f) {
         f.tokens.resize(2);
         f.Flag("tokenizer.ggml.add_eos_token", true);
       },
       ErrorCode::kMissing, "tokenizer.ggml.eos_token_id", false},
  };
  for (const Case& c : cases) {
    VocabFile file;
    c.spoil(file);
    const inlay::Error error = ErrorOf(OpenTokenizer::Gguf(file));
    BOOST_TEST((error.code == c.code), c.what << ": " << error.Message().view());
    BOOST_TEST(error.field.view() == c.field, c.what);
    BOOST_TEST((error.offset != inlay::Error::kNoOffset) == c.offset, c.what);
  }
  for (const char* key : {"bos", "eos", "unknown", "eot", "eom", "seperator", "padding", "mask"}) {
    for (const std::uint32_t beyond : {0u, 1u, 0x7FFFFFFFu, 0xFFFFFFFFu}) {
      VocabFile file;
      const std::string name = std::string("tokenizer.ggml.") + key + "_token_id";
      const auto size = static_cast<std::uint32_t>(file.tokens.size());
      file.Id(name, beyond <= 1 ? size + beyond : beyond);
      const inlay::Error error = ErrorOf(OpenTokenizer::Gguf(file));
      BOOST_TEST((error.code == ErrorCode::kBadFile));
      BOOST_TEST(error.field.view() == name);
      BOOST_TEST(error.offset == file.Build().size() - 4);
    }
  }
}

BOOST_AUTO_TEST_CASE(ErrorsPointAtTheToken) {
  VocabFile file;
  file.tokens.back().piece = "abc";
  const auto bytes = file.Build();
  const inlay::Error error = ErrorOf(OpenTokenizer::Gguf(file));
  const std::string_view text(reinterpret_cast<const char*>(bytes.span().data()), bytes.size());
  BOOST_TEST(text.substr(error.offset, 3) == "abc");
  BOOST_TEST(error.offset > text.find("[x]"));
  BOOST_TEST(error.detail.view() == "tokens " + std::to_string(IdOf(file.tokens, "abc")) + " and " +
                                        std::to_string(file.tokens.size() - 1) + " have the same piece");
}

BOOST_AUTO_TEST_CASE(OddVocabulariesThatAreFine) {
  // One token, no special ones in reach of the defaults.
  VocabFile file;
  file.tokens.resize(1);
  const OpenTokenizer one = OpenTokenizer::Gguf(file);
  BOOST_REQUIRE_MESSAGE(one, one.Why());
  BOOST_TEST(one->bos() == inlay::kNoToken);
  BOOST_TEST(!one->add_bos());
  // An ordinary piece where the default would be is no special token.
  file = VocabFile();
  for (std::size_t i = 0; i < 3; ++i) file.tokens[i].type = inlay_test::kNormal;
  const OpenTokenizer ordinary = OpenTokenizer::Gguf(file);
  BOOST_REQUIRE_MESSAGE(ordinary, ordinary.Why());
  BOOST_TEST(ordinary->bos() == inlay::kNoToken);
  BOOST_TEST(ordinary->special().unknown == inlay::kNoToken);
  BOOST_TEST(!ordinary->add_bos());
  // Empty pieces, as padding; the longest piece; pieces that are not UTF-8 or have a NUL.
  file = VocabFile();
  file.tokens.push_back({"", 0, inlay_test::kNormal});
  file.tokens.push_back({"", 0, inlay_test::kControl});
  file.tokens.push_back({"", 0, inlay_test::kUserDefined});
  file.tokens.push_back({std::string(4096, 'x'), 0, inlay_test::kNormal});
  file.tokens.push_back({std::string("\0\xFF", 2), 0, inlay_test::kUserDefined});
  const OpenTokenizer odd = OpenTokenizer::Gguf(file);
  BOOST_REQUIRE_MESSAGE(odd, odd.Why());
  Use(*odd);
  BOOST_TEST(odd->max_piece_bytes() == 4096u);
  BOOST_TEST(Encode(*odd, std::string_view("\0\xFF", 2)) == (TokenIds{static_cast<TokenId>(odd->size() - 1)}),
             boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(TheArenaMayBeTooSmall) {
  const auto bytes = VocabFile().Build();
  auto index_memory = *inlay::OwnedBuffer::Create(inlay::GgufFile::IndexBytes(bytes.span()));
  auto index = *inlay::Arena::Create(index_memory.bytes());
  const auto file = inlay::GgufFile::Open(bytes.span(), index);
  BOOST_REQUIRE(file);
  auto memory = *inlay::OwnedBuffer::Create(*inlay::Tokenizer::ArenaBytesFor(*file));
  std::size_t failures = 0;
  for (std::size_t size = 0; size <= memory.size(); size += 64) {
    auto arena = *inlay::Arena::Create(memory.bytes().first(size));
    const auto tokenizer = inlay::Tokenizer::FromGguf(*file, arena);
    if (tokenizer) {
      Use(*tokenizer);
    } else {
      BOOST_TEST((tokenizer.error().code == ErrorCode::kOutOfMemory));
      ++failures;
    }
  }
  BOOST_TEST(failures > 0u);
  BOOST_TEST(failures < memory.size() / 64);
}

// No broken file does harm; most are refused, those that are not work.
void CheckBroken(const std::vector<std::byte>& bytes,
                 const std::function<OpenTokenizer(std::vector<std::byte>)>& open) {
  std::size_t refused = 0;
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    const OpenTokenizer tokenizer = open({bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(size)});
    refused += tokenizer ? 0 : 1;
  }
  BOOST_TEST(refused == bytes.size());
  std::size_t opened = 0;
  for (std::size_t at = 0; at < bytes.size(); ++at) {
    for (int bit = 0; bit < 8; ++bit) {
      std::vector<std::byte> flipped = bytes;
      flipped[at] ^= static_cast<std::byte>(1 << bit);
      const OpenTokenizer tokenizer = open(std::move(flipped));
      if (!tokenizer) continue;
      Use(*tokenizer);
      ++opened;
    }
  }
  BOOST_TEST(opened > 0u);
}

VocabFile TinyFile() {
  VocabFile file;
  file.tokens = {{"<unk>", 0, inlay_test::kUnknown},
                 {"<s>", 0, inlay_test::kControl},
                 {"</s>", 0, inlay_test::kControl},
                 {"<0x61>", 0, inlay_test::kByte},
                 {"<0xFF>", 0, inlay_test::kByte},
                 {"\xE2\x96\x81", -1, inlay_test::kNormal},
                 {"a", -2, inlay_test::kNormal},
                 {"\xE2\x96\x81"
                  "a",
                  -3, inlay_test::kNormal},
                 {"aa", -4, inlay_test::kNormal},
                 {"[x]", 0, inlay_test::kUserDefined}};
  file.Id("tokenizer.ggml.bos_token_id", 1).Flag("tokenizer.ggml.add_bos_token", true);
  return file;
}

BOOST_AUTO_TEST_CASE(BrokenGguf) {
  CheckBroken(TinyFile().Build().bytes(),
              [](std::vector<std::byte> bytes) { return OpenTokenizer::Gguf(std::move(bytes)); });
}

BOOST_AUTO_TEST_CASE(BrokenBytePairs) {
  VocabFile file;
  file.model = "gpt2";
  file.with_scores = false;
  file.tokens = {{"<s>", 0, inlay_test::kControl},
                 {"a"},
                 {"b"},
                 {"\xC4\xA0"},
                 {"ab"},
                 {"aa"},
                 {"\xC4\xA0"
                  "ab"}};
  file.merges = {"a b", "\xC4\xA0 ab", "a a"};
  file.Id("tokenizer.ggml.unknown_token_id", 0).Text("tokenizer.ggml.pre", "qwen2");
  CheckBroken(file.Build().bytes(), [](std::vector<std::byte> bytes) { return OpenTokenizer::Gguf(std::move(bytes)); });
}

BOOST_AUTO_TEST_CASE(BrokenWordPieces) {
  VocabFile file;
  file.model = "bert";
  file.with_scores = false;
  file.tokens = {{"[CLS]", 0, inlay_test::kControl},
                 {"\xE2\x96\x81"
                  "a"},
                 {"bc"},
                 {"a"},
                 {"\xE2\x96\x81<"}};
  file.Id("tokenizer.ggml.unknown_token_id", 0).Id("tokenizer.ggml.bos_token_id", 0);
  file.Id("tokenizer.ggml.seperator_token_id", 0);
  CheckBroken(file.Build().bytes(), [](std::vector<std::byte> bytes) { return OpenTokenizer::Gguf(std::move(bytes)); });
}

BOOST_AUTO_TEST_CASE(BrokenLlama2c) {
  const auto tokens = TinyFile().tokens;
  CheckBroken(inlay_test::Llama2cBytes(tokens).bytes(),
              [&](std::vector<std::byte> bytes) { return OpenTokenizer::Llama2c(std::move(bytes), tokens.size()); });
}

BOOST_AUTO_TEST_CASE(Llama2cVocabulary) {
  // As the exporter writes it: plain spaces, begin and end on lines of their own.
  inlay_test::TestTokens tokens = inlay_test::TokensWithBytes();
  tokens[1].piece = "\n<s>\n";
  tokens[2].piece = "\n</s>\n";
  for (const char* piece : {" ", "a", "b", " a", "ab", " ab"}) {
    tokens.push_back({piece, static_cast<float>(tokens.size()), inlay_test::kNormal});
  }
  const OpenTokenizer tokenizer = OpenTokenizer::Llama2c(inlay_test::Llama2cBytes(tokens).bytes(), tokens.size());
  BOOST_REQUIRE_MESSAGE(tokenizer, tokenizer.Why());
  BOOST_TEST(tokenizer->bos() == 1);
  BOOST_TEST(tokenizer->eos() == 2);
  BOOST_TEST(tokenizer->EndsGeneration(1));
  BOOST_TEST(tokenizer->EndsGeneration(2));
  BOOST_TEST(Encode(*tokenizer, "ab a", {}) == (TokenIds{1, IdOf(tokens, " ab"), IdOf(tokens, " a")}),
             boost::test_tools::per_element());
  BOOST_TEST(Encode(*tokenizer, "", {}) == (TokenIds{1}), boost::test_tools::per_element());
  // The mark of other vocabularies is a character here.
  BOOST_TEST(Encode(*tokenizer, "\xE2\x96\x81") == (TokenIds{IdOf(tokens, " "), 3 + 0xE2, 3 + 0x96, 3 + 0x81}),
             boost::test_tools::per_element());
  // A model with more tokens than the file.
  const OpenTokenizer more = OpenTokenizer::Llama2c(inlay_test::Llama2cBytes(tokens).bytes(), tokens.size() + 1);
  BOOST_TEST((ErrorOf(more).code == ErrorCode::kTruncated));
  // Too few for the tokens that every such model has.
  const OpenTokenizer two =
      OpenTokenizer::Llama2c(inlay_test::Llama2cBytes({{"<unk>", 0, 0}, {"<s>", 0, 0}}).bytes(), 2);
  BOOST_TEST((ErrorOf(two).code == ErrorCode::kBadFile));
  BOOST_TEST(ErrorOf(two).field.view() == "eos token");
}

BOOST_AUTO_TEST_SUITE_END()
