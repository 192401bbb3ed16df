// WordPiece: how text is cleaned and cut, which pieces words become, and the index that finds them.
#define BOOST_TEST_DYN_LINK
#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "inlay/generate/random.hpp"
#include "inlay/text/piece_index.hpp"
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

const std::string kMark(inlay::kSpaceMark);

// Words are written with "_" here, which stands for the mark.
std::string Piece(std::string text) {
  if (!text.empty() && text[0] == '_') text.replace(0, 1, kMark);
  return text;
}

VocabFile WordPieceFile() {
  VocabFile file;
  file.model = "bert";
  file.with_scores = false;
  file.tokens = {{"[PAD]", 0, inlay_test::kControl},
                 {"[UNK]", 0, inlay_test::kControl},
                 {"[CLS]", 0, inlay_test::kControl},
                 {"[SEP]", 0, inlay_test::kControl}};
  for (const char* piece : {"_un",  "_unable",  "able",          "a",  "b",
                            "le",   "_a",       "_the",          "_,", "_'",
                            "_caf", "e",        "_\xE4\xB8\xAD", "_$", "_\xE2\x82\xAC",
                            "_x",   "\xC3\xA9", "_CAF",          "s",  "_\xE1\x84\x80"}) {
    file.tokens.push_back({Piece(piece)});
  }
  return file.Id("tokenizer.ggml.unknown_token_id", 1)
      .Id("tokenizer.ggml.cls_token_id", 2)
      .Id("tokenizer.ggml.seperator_token_id", 3)
      .Id("tokenizer.ggml.padding_token_id", 0);
}

}  // namespace

BOOST_AUTO_TEST_SUITE(text_wordpiece)

BOOST_AUTO_TEST_CASE(Figures) {
  const VocabFile file = WordPieceFile();
  const OpenTokenizer tokenizer = OpenTokenizer::Gguf(file);
  BOOST_REQUIRE_MESSAGE(tokenizer, tokenizer.Why());
  BOOST_TEST((tokenizer->model() == inlay::TokenizerModel::kWordPiece));
  BOOST_TEST(tokenizer->add_bos());
  BOOST_TEST(!tokenizer->add_eos());
  BOOST_TEST(tokenizer->add_separator());
  BOOST_TEST(tokenizer->cleans_spaces());
  const auto check = [&](std::string_view text, const std::vector<std::string>& pieces) {
    TokenIds expected;
    for (const std::string& piece : pieces) expected.push_back(IdOf(file.tokens, Piece(piece)));
    BOOST_TEST(Encode(*tokenizer, text) == expected, boost::test_tools::per_element());
  };
  check("", {});
  check(" \t\n\xC2\xA0\xE3\x80\x80", {});
  check("unable", {"_unable"});
  check("UnAbleB", {"_unable", "b"});
  check("unablex", {"[UNK]"});  // nothing of a word that does not end well
  check("unablex the", {"[UNK]", "_the"});
  check("una", {"_un", "a"});
  check("a,b'a", {"_a", "_,", "[UNK]", "_'", "_a"});  // "b" begins no word
  check("a a", {"_a", "_a"});
  check("caf\xC3\xA9", {"_caf", "e"});         // without its accent
  check("cafe\xCC\x81s", {"_caf", "e", "s"});  // also where it is a character of its own
  check("x\xE4\xB8\xADx", {"_x", "_\xE4\xB8\xAD", "_x"});
  check("x$x\xE2\x82\xACx", {"_x", "_$", "[UNK]"});  // only ASCII's symbols stand alone
  check("\xEA\xB0\x80", {"_\xE1\x84\x80"});                // the first part of the syllable, as the reference has it
  // Control characters, and what is no character, are not there.
  check(std::string_view("t\0he\x01\xE2\x80\x8B\xFF\xEF\xBF\xBD", 13), {"_the"});
  check("\xFF\xC3", {});
  // Special tokens only when asked; "[" is no piece here.
  check("[SEP]", {"[UNK]", "[UNK]", "[UNK]"});
  BOOST_TEST(Encode(*tokenizer, "a[SEP]a", {.add_special = true, .parse_special = true}) ==
                 (TokenIds{2, IdOf(file.tokens, Piece("_a")), 3, IdOf(file.tokens, Piece("_a")), 3}),
             boost::test_tools::per_element());
  BOOST_TEST(Encode(*tokenizer, "", {}) == (TokenIds{2, 3}), boost::test_tools::per_element());
  BOOST_TEST(inlay_test::Detokenize(*tokenizer, Encode(*tokenizer, "una, the"), {}) == " una , the");
}

BOOST_AUTO_TEST_CASE(CaseAndAccentsCanStay) {
  VocabFile file = WordPieceFile();
  const OpenTokenizer cased = OpenTokenizer::Gguf(file.Flag("tokenizer.ggml.normalizer.lowercase", false));
  BOOST_REQUIRE_MESSAGE(cased, cased.Why());
  BOOST_TEST(
      Encode(*cased, "CAF\xC3\xA9") == (TokenIds{IdOf(file.tokens, Piece("_CAF")), IdOf(file.tokens, "\xC3\xA9")}),
      boost::test_tools::per_element());
  VocabFile other = WordPieceFile();
  other.Flag("tokenizer.ggml.normalizer.lowercase", true).Flag("tokenizer.ggml.normalizer.strip_accents", false);
  const OpenTokenizer accents = OpenTokenizer::Gguf(other);
  BOOST_REQUIRE_MESSAGE(accents, accents.Why());
  BOOST_TEST(
      Encode(*accents, "CAF\xC3\x89") == (TokenIds{IdOf(other.tokens, Piece("_caf")), IdOf(other.tokens, "\xC3\xA9")}),
      boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(RepeatedWordsAndMemory) {
  const VocabFile file = WordPieceFile();
  const OpenTokenizer tokenizer = OpenTokenizer::Gguf(file);
  BOOST_REQUIRE_MESSAGE(tokenizer, tokenizer.Why());
  const TokenIds some = Encode(*tokenizer, "UNABLE una, caf\xC3\xA9! x\xE4\xB8\xAD");
  std::string text;
  TokenIds expected;
  for (int i = 0; i < 100; ++i) {
    text += "UNABLE una, caf\xC3\xA9! x\xE4\xB8\xAD ";
    expected.insert(expected.end(), some.begin(), some.end());
  }
  BOOST_TEST(inlay_test::EncodeOnSmallStack(*tokenizer, text) == expected, boost::test_tools::per_element());
  // Characters that grow when they are folded, in the promised memory.
  for (const char* character : {"\xC8\xBA", "\xEF\xA9\xAC", "\xEF\xBF\xBD", "\xF0\xAF\xA0\x80"}) {
    std::string word;
    for (int i = 0; i < 1000; ++i) word += character;
    const TokenIds ids = inlay_test::EncodeOnSmallStack(*tokenizer, word);
    BOOST_TEST(std::count(ids.begin(), ids.end(), 1) == static_cast<std::ptrdiff_t>(ids.size()));
  }
  std::vector<std::byte> scratch(16);
  TokenIds ids(100);
  const auto count = tokenizer->Encode("the unable", {}, scratch, ids);
  BOOST_REQUIRE(!count);
  BOOST_TEST((count.error().code == ErrorCode::kOutOfMemory));
  BOOST_TEST(count.error().offset == 0u);
}

BOOST_AUTO_TEST_CASE(AMillionEqualCharacters) {
  const VocabFile file = WordPieceFile();
  const OpenTokenizer tokenizer = OpenTokenizer::Gguf(file);
  BOOST_REQUIRE_MESSAGE(tokenizer, tokenizer.Why());
  for (const char c : {'a', 'q', ' ', ',', '\xFF'}) {
    const TokenIds ids = inlay_test::EncodeOnSmallStack(*tokenizer, std::string(1000000, c));
    BOOST_TEST(ids.size() == (c == 'a' || c == ',' ? 1000000u : c == 'q' ? 1u : 0u));
  }
}

BOOST_AUTO_TEST_CASE(FilesThatLackATokenOrSayNonsense) {
  const auto error = [](std::string_view without, std::string_view flag) {
    VocabFile file = WordPieceFile();
    file.extra = {};
    file.extra_count = 0;
    if (without != "unknown") file.Id("tokenizer.ggml.unknown_token_id", 1);
    if (without != "cls") file.Id("tokenizer.ggml.cls_token_id", 2);
    if (without != "seperator") file.Id("tokenizer.ggml.seperator_token_id", 3);
    if (!flag.empty()) file.Id(flag, 1);
    const OpenTokenizer tokenizer = OpenTokenizer::Gguf(file);
    BOOST_REQUIRE(!tokenizer);
    return tokenizer.error();
  };
  BOOST_TEST((error("unknown", "").code == ErrorCode::kMissing));
  BOOST_TEST((error("cls", "").code == ErrorCode::kMissing));
  BOOST_TEST(error("cls", "").field.view() == "tokenizer.ggml.bos_token_id");
  BOOST_TEST((error("seperator", "").code == ErrorCode::kMissing));
  for (const char* flag : {"tokenizer.ggml.normalizer.lowercase", "tokenizer.ggml.normalizer.strip_accents"}) {
    BOOST_TEST((error("", flag).code == ErrorCode::kMismatch));
    BOOST_TEST(error("", flag).field.view() == flag);
  }
}

// Against trying every piece at every place.
BOOST_AUTO_TEST_CASE(IndexFindsAllBeginnings) {
  inlay::Pcg32 random(31);
  for (int round = 0; round < 200; ++round) {
    std::vector<std::string> pieces;
    std::string all;
    for (std::uint32_t i = 1 + random.Next() % 40; i != 0; --i) {
      std::string piece;
      for (std::uint32_t k = random.Next() % 12; k != 0; --k)
        piece += std::string_view("ab\0\xFF", 4)[random.Next() % 4];
      if (std::find(pieces.begin(), pieces.end(), piece) == pieces.end()) pieces.push_back(piece);
    }
    for (const std::string& piece : pieces) all += piece;
    auto memory = *inlay::OwnedBuffer::Create(inlay::Vocabulary::MaxArenaBytes(pieces.size()) +
                                              inlay::PieceIndex::ArenaBytesFor(pieces.size()));
    auto arena = *inlay::Arena::Create(memory.bytes());
    auto vocabulary = *inlay::Vocabulary::Create(all, pieces.size(), arena);
    std::size_t at = 0;
    for (const std::string& piece : pieces) {
      BOOST_REQUIRE(vocabulary.Add(std::string_view(all).substr(at, piece.size()), 0, inlay::kTokenNormal, 0));
      at += piece.size();
    }
    // Every third token is left out.
    const auto wanted = [](TokenId id) { return id % 3 != 0; };
    const auto index = *inlay::PieceIndex::Create(vocabulary, wanted, arena);
    for (int i = 0; i < 20; ++i) {
      std::string text;
      for (std::uint32_t k = 1 + random.Next() % 14; k != 0; --k)
        text += std::string_view("ab\0\xFF", 4)[random.Next() % 4];
      TokenIds expected, found;
      for (std::size_t size = text.size(); size != 0; --size) {
        const auto match = std::find(pieces.begin(), pieces.end(), text.substr(0, size));
        const auto id = static_cast<TokenId>(match - pieces.begin());
        if (match != pieces.end() && wanted(id)) expected.push_back(id);
      }
      for (auto p = index.FindLongest(vocabulary, text); p != inlay::PieceIndex::kNone; p = index.Shorter(p)) {
        found.push_back(index.IdAt(p));
      }
      BOOST_TEST(found == expected, boost::test_tools::per_element());
    }
  }
}

BOOST_AUTO_TEST_SUITE_END()
