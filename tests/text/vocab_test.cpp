#define BOOST_TEST_DYN_LINK
#include <boost/test/unit_test.hpp>

#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "inlay/core/owned_buffer.hpp"
#include "inlay/generate/random.hpp"
#include "inlay/text/token_writer.hpp"
#include "inlay/text/vocab.hpp"

namespace {

using inlay::TokenId;
using inlay::Vocabulary;

static_assert(Vocabulary::ByteValue("<0x00>") == 0 && Vocabulary::ByteValue("<0xfF>") == 255);
static_assert(Vocabulary::ByteValue("<0x0>") == -1 && Vocabulary::ByteValue("<0x100>") == -1);
static_assert(Vocabulary::ByteValue("<0X00>") == -1 && Vocabulary::ByteValue("<0x0g>") == -1);
static_assert(Vocabulary::ByteValue("<0x00)") == -1 && Vocabulary::ByteValue("") == -1);

// Fills a vocabulary from pieces and attributes; they live here.
class Filled {
 public:
  explicit Filled(const std::vector<std::pair<std::string, inlay::TokenAttributes>>& tokens) {
    for (const auto& token : tokens) text_ += token.first;
    memory_ = std::move(*inlay::OwnedBuffer::Create(Vocabulary::MaxArenaBytes(tokens.size())));
    auto arena = *inlay::Arena::Create(memory_.bytes());
    vocabulary_.emplace(*Vocabulary::Create(text_, tokens.size(), arena));
    std::size_t at = 0;
    for (const auto& [piece, attributes] : tokens) {
      BOOST_REQUIRE(vocabulary_->Add(std::string_view(text_).substr(at, piece.size()), 0, attributes, at));
      at += piece.size();
    }
    BOOST_REQUIRE(vocabulary_->Finish({}, inlay::kSpaceMark, arena));
  }
  Filled(const Filled&) = delete;
  const Vocabulary* operator->() const { return &*vocabulary_; }

 private:
  std::string text_;
  inlay::OwnedBuffer memory_;
  std::optional<Vocabulary> vocabulary_;
};

std::string RandomPiece(inlay::Pcg32& random) {
  std::string piece(1 + random.Next() % 20, '\0');
  for (char& c : piece) c = static_cast<char>('a' + random.Next() % 3);
  return piece;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(text_vocab)

BOOST_AUTO_TEST_CASE(EveryPieceIsFound) {
  inlay::Pcg32 random(8);
  std::map<std::string, TokenId> expected;
  std::vector<std::pair<std::string, inlay::TokenAttributes>> tokens;
  while (tokens.size() < 50000) {
    const std::string piece = RandomPiece(random);
    if (expected.emplace(piece, static_cast<TokenId>(tokens.size())).second) {
      tokens.emplace_back(piece, inlay::kTokenNormal);
    }
  }
  const Filled vocabulary(tokens);
  for (const auto& [piece, id] : expected) BOOST_REQUIRE_EQUAL(vocabulary->Find(piece), id);
  std::size_t absent = 0;
  for (int i = 0; i < 50000; ++i) {
    const std::string piece = RandomPiece(random);
    const auto found = expected.find(piece);
    BOOST_REQUIRE_EQUAL(vocabulary->Find(piece), found == expected.end() ? inlay::kNoToken : found->second);
    absent += found == expected.end() ? 1 : 0;
  }
  BOOST_TEST(absent > 1000u);
  BOOST_TEST(vocabulary->Find("") == inlay::kNoToken);
  BOOST_TEST(vocabulary->Find(std::string(100000, 'a')) == inlay::kNoToken);
}

// Numbers of tokens that could fill a table to the last place: a piece that is not there must end the search.
BOOST_AUTO_TEST_CASE(NoTableIsFull) {
  for (std::size_t count = 1; count <= 4096; count *= 2) {
    std::vector<std::pair<std::string, inlay::TokenAttributes>> tokens;
    for (std::size_t i = 0; i < count; ++i) tokens.emplace_back("t" + std::to_string(i), inlay::kTokenNormal);
    const Filled vocabulary(tokens);
    BOOST_TEST(vocabulary->Find("t" + std::to_string(count - 1)) == static_cast<TokenId>(count - 1));
    BOOST_TEST(vocabulary->Find("u0") == inlay::kNoToken);
  }
}

BOOST_AUTO_TEST_CASE(TextNeverFindsControls) {
  const Filled vocabulary({{"a", inlay::kTokenNormal},
                           {"<c>", inlay::kTokenControl},
                           {"<u>", inlay::kTokenUnknown},
                           {"<0x41>", inlay::kTokenByte},
                           {"[d]", inlay::kTokenUserDefined}});
  for (const std::string_view piece : {"<c>", "<u>", "<0x41>"}) {
    BOOST_TEST(vocabulary->Find(piece) != inlay::kNoToken);
    BOOST_TEST(vocabulary->FindText(piece) == inlay::kNoToken);
  }
  BOOST_TEST(vocabulary->FindText("a") == 0);
  BOOST_TEST(vocabulary->FindText("[d]") == 4);
  BOOST_TEST(vocabulary->ByteToken('A') == 3);
  BOOST_TEST(vocabulary->ByteToken('B') == inlay::kNoToken);
}

BOOST_AUTO_TEST_CASE(SpecialTokensAreFoundInText) {
  // Against a search that tries every token at every place.
  inlay::Pcg32 random(9);
  for (int round = 0; round < 300; ++round) {
    std::map<std::string, inlay::TokenAttributes> pieces;
    const inlay::TokenAttributes kinds[] = {inlay::kTokenNormal, inlay::kTokenControl, inlay::kTokenUnknown,
                                            inlay::kTokenUserDefined};
    for (int i = 0; i < 8; ++i) pieces[RandomPiece(random).substr(0, 1 + random.Next() % 4)] = kinds[random.Next() % 4];
    const std::vector<std::pair<std::string, inlay::TokenAttributes>> tokens(pieces.begin(), pieces.end());
    const Filled vocabulary(tokens);
    for (int k = 0; k < 10; ++k) {
      const std::string text = RandomPiece(random);
      const bool parse_special = k % 2 == 0;
      const std::size_t from = random.Next() % (text.size() + 1);
      Vocabulary::Match expected;
      for (std::size_t at = from; at < text.size() && expected.id == inlay::kNoToken; ++at) {
        std::size_t longest = 0;
        for (std::size_t id = 0; id < tokens.size(); ++id) {
          const auto& [piece, kind] = tokens[id];
          const bool wanted = kind == inlay::kTokenUserDefined || (parse_special && kind != inlay::kTokenNormal);
          if (!wanted || text.compare(at, piece.size(), piece) != 0 || piece.size() <= longest) continue;
          longest = piece.size();
          expected = {at, static_cast<TokenId>(id)};
        }
      }
      const Vocabulary::Match match = vocabulary->FindSpecial(text, from, parse_special);
      BOOST_TEST(match.id == expected.id);
      BOOST_TEST(match.start == expected.start);
    }
  }
}

BOOST_AUTO_TEST_CASE(WordBordersAreProven) {
  // The bytes that end no word before a space.
  const auto inner = [](const std::string& piece, inlay::TokenAttributes attributes) {
    const auto vocabulary = Filled({{"x", inlay::kTokenNormal}, {piece, attributes}});
    std::string bytes;
    for (int byte = 0; byte < 256; ++byte) {
      if (!vocabulary->IsBorderBeforeSpace(static_cast<char>(byte))) bytes += static_cast<char>(byte);
    }
    return bytes;
  };
  const std::string mark(inlay::kSpaceMark);
  BOOST_TEST(inner(mark, inlay::kTokenNormal) == "");
  BOOST_TEST(inner(mark + mark + "ab", inlay::kTokenNormal) == "");
  BOOST_TEST(inner("a" + mark, inlay::kTokenNormal) == "a");
  BOOST_TEST(inner(mark + "b" + mark + "a", inlay::kTokenNormal) == "b");
  BOOST_TEST(inner("b" + mark + mark + "\xC3\xA9" + mark + "c", inlay::kTokenNormal) == "b\xA9");
  BOOST_TEST(inner("a" + mark, inlay::kTokenUserDefined) == "a");
  // A control token is no text, so it joins nothing.
  BOOST_TEST(inner("a" + mark, inlay::kTokenControl) == "");
}

BOOST_AUTO_TEST_CASE(WriterCountsBeyondItsRoom) {
  TokenId room[2] = {};
  inlay::TokenWriter writer(room);
  for (TokenId id = 5; id < 9; ++id) {
    BOOST_TEST(writer.overflowed() == (id > 7));
    writer.Push(id);
  }
  BOOST_TEST(writer.count() == 4u);
  BOOST_TEST(room[0] == 5);
  BOOST_TEST(room[1] == 6);
}

BOOST_AUTO_TEST_SUITE_END()
