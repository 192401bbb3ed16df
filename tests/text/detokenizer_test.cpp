#define BOOST_TEST_DYN_LINK
#include <boost/test/unit_test.hpp>

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "inlay/core/owned_buffer.hpp"
#include "inlay/generate/random.hpp"
#include "inlay/text/detokenizer.hpp"
#include "inlay/text/utf8.hpp"
#include "tests/support/allocation_counter.hpp"
#include "tests/text/small_vocab.hpp"

namespace {

using inlay::Detokenizer;
using inlay::LeadingSpace;
using inlay::TokenId;
using inlay_test::OpenTokenizer;
using inlay_test::TokenIds;
using inlay_test::VocabFile;

class Owned {
 public:
  Owned(const inlay::Tokenizer& tokenizer, inlay::DetokenizeOptions options)
      : memory_(std::move(*inlay::OwnedBuffer::Create(Detokenizer::MemoryBytes(tokenizer)))) {
    auto arena = *inlay::Arena::Create(memory_.bytes());
    auto detokenizer = Detokenizer::Create(tokenizer, options, arena);
    BOOST_REQUIRE(detokenizer);
    detokenizer_.emplace(*detokenizer);
  }
  Detokenizer* operator->() { return &*detokenizer_; }

 private:
  inlay::OwnedBuffer memory_;
  std::optional<Detokenizer> detokenizer_;
};

TokenId Byte(int byte) { return 3 + byte; }

}  // namespace

BOOST_AUTO_TEST_SUITE(text_detokenizer)

BOOST_AUTO_TEST_CASE(CharactersAreNotCut) {
  const OpenTokenizer tokenizer = OpenTokenizer::Gguf(VocabFile());
  BOOST_REQUIRE_MESSAGE(tokenizer, tokenizer.Why());
  Owned stream(*tokenizer, {});
  for (const int byte : {0xF0, 0x9F, 0x98}) BOOST_TEST(*stream->Feed(Byte(byte)) == "");
  BOOST_TEST(*stream->Feed(Byte(0x80)) == "\xF0\x9F\x98\x80");
  // A beginning that turns out to be none passes as it is, with what follows.
  BOOST_TEST(*stream->Feed(Byte(0xF0)) == "");
  BOOST_TEST(*stream->Feed(Byte(0x9F)) == "");
  BOOST_TEST(*stream->Feed(Byte('a')) ==
             "\xF0\x9F"
             "a");
  BOOST_TEST(*stream->Feed(Byte(0x80)) == "\x80");
  BOOST_TEST(*stream->Feed(Byte(0xE2)) == "");
  BOOST_TEST(*stream->Feed(Byte(0xE2)) == "\xE2");
  BOOST_TEST(*stream->Feed(Byte(0x96)) == "");
  BOOST_TEST(stream->Flush() == "\xE2\x96");
  BOOST_TEST(stream->Flush() == "");
  BOOST_TEST(*stream->Feed(Byte('b')) == "b");
}

BOOST_AUTO_TEST_CASE(AnyTokensAnyOrder) {
  const VocabFile file;
  const OpenTokenizer tokenizer = OpenTokenizer::Gguf(file);
  BOOST_REQUIRE_MESSAGE(tokenizer, tokenizer.Why());
  inlay::Pcg32 random(4);
  for (int round = 0; round < 2000; ++round) {
    Owned stream(*tokenizer, {.special = round % 2 == 0, .leading_space = LeadingSpace::kKeep});
    std::string together, fed;
    for (int i = 0; i < 20; ++i) {
      // Mostly bytes from 0x80 on, which are what makes it hard.
      const TokenId id = static_cast<TokenId>(random.Next() % 4 == 0 ? random.Next() % file.tokens.size()
                                                                     : 3 + 128 + random.Next() % 128);
      char piece[32];
      together.append(piece, *tokenizer->Decode(id, piece, round % 2 == 0));
      const auto text = stream->Feed(id);
      BOOST_REQUIRE(text);
      fed += *text;
      BOOST_TEST(together.size() - fed.size() == inlay::IncompleteUtf8Suffix(together));
    }
    fed += stream->Flush();
    BOOST_TEST(fed == together);
  }
}

BOOST_AUTO_TEST_CASE(ValidTextComesInValidParts) {
  const OpenTokenizer tokenizer = OpenTokenizer::Gguf(VocabFile());
  BOOST_REQUIRE_MESSAGE(tokenizer, tokenizer.Why());
  Owned stream(*tokenizer, {});
  std::size_t parts = 0;
  for (const char byte : std::string_view("a\xC3\xA9\xE2\x96\x81\xF0\x9F\x98\x80z\xF4\x8F\xBF\xBF\xED\x9F\xBF")) {
    const auto text = stream->Feed(Byte(static_cast<unsigned char>(byte)));
    BOOST_REQUIRE(text);
    BOOST_TEST(inlay::IsValidUtf8(*text));
    parts += text->empty() ? 0 : 1;
  }
  BOOST_TEST(parts == 7u);
  BOOST_TEST(stream->Flush() == "");
}

BOOST_AUTO_TEST_CASE(LeadingSpaces) {
  const VocabFile file;
  const OpenTokenizer tokenizer = OpenTokenizer::Gguf(file);
  BOOST_REQUIRE_MESSAGE(tokenizer, tokenizer.Why());
  const TokenId a = inlay_test::IdOf(file.tokens,
                                     "\xE2\x96\x81"
                                     "a");
  const TokenId spaces = inlay_test::IdOf(file.tokens, "\xE2\x96\x81\xE2\x96\x81");
  const auto text = [&](const TokenIds& ids, LeadingSpace leading_space, bool special = false) {
    return inlay_test::Detokenize(*tokenizer, ids, {.special = special, .leading_space = leading_space});
  };
  BOOST_TEST(text({1, a, a}, LeadingSpace::kStripAfterBos) == "a a");
  BOOST_TEST(text({1, a, a}, LeadingSpace::kStripAfterBos, true) == "<s>a a");
  BOOST_TEST(text({a, 1, a}, LeadingSpace::kStripAfterBos) == " aa");
  BOOST_TEST(text({1, spaces, a}, LeadingSpace::kStripAfterBos) == "  a");
  BOOST_TEST(text({1, Byte(' '), a}, LeadingSpace::kStripAfterBos) == " a");
  BOOST_TEST(text({1, Byte('x'), a}, LeadingSpace::kStripAfterBos) == "x a");
  BOOST_TEST(text({a, a}, LeadingSpace::kStripFirst) == "a a");
  BOOST_TEST(text({1, a}, LeadingSpace::kStripFirst) == " a");
  BOOST_TEST(text({1, a, a}, LeadingSpace::kKeep) == " a a");

  VocabFile without;
  without.Flag("tokenizer.ggml.add_space_prefix", false);
  const OpenTokenizer plain = OpenTokenizer::Gguf(without);
  BOOST_REQUIRE_MESSAGE(plain, plain.Why());
  BOOST_TEST(inlay_test::Detokenize(*plain, TokenIds{a}, {.leading_space = LeadingSpace::kStripFirst}) == " a");
  BOOST_TEST(inlay_test::Detokenize(*plain, TokenIds{1, a}, {.leading_space = LeadingSpace::kStripAfterBos}) == " a");
}

BOOST_AUTO_TEST_CASE(FlushAndResetBeginAnew) {
  const VocabFile file;
  const OpenTokenizer tokenizer = OpenTokenizer::Gguf(file);
  BOOST_REQUIRE_MESSAGE(tokenizer, tokenizer.Why());
  const TokenId a = inlay_test::IdOf(file.tokens,
                                     "\xE2\x96\x81"
                                     "a");
  Owned stream(*tokenizer, {.leading_space = LeadingSpace::kStripFirst});
  BOOST_TEST(*stream->Feed(a) == "a");
  BOOST_TEST(*stream->Feed(a) == " a");
  BOOST_TEST(*stream->Feed(Byte(0xC3)) == "");
  stream->Reset();
  BOOST_TEST(*stream->Feed(a) == "a");
  BOOST_TEST(stream->Flush() == "");
  BOOST_TEST(*stream->Feed(a) == "a");
}

BOOST_AUTO_TEST_CASE(UnknownIdsChangeNothing) {
  VocabFile file;
  file.tokens.push_back({"x\xE2\x96", 0, inlay_test::kNormal});
  const OpenTokenizer tokenizer = OpenTokenizer::Gguf(file);
  BOOST_REQUIRE_MESSAGE(tokenizer, tokenizer.Why());
  Owned stream(*tokenizer, {});
  BOOST_TEST(*stream->Feed(static_cast<TokenId>(tokenizer->size() - 1)) == "x");
  for (const TokenId id : {-1, static_cast<TokenId>(tokenizer->size())}) {
    const auto text = stream->Feed(id);
    BOOST_REQUIRE(!text);
    BOOST_TEST((text.error().code == inlay::ErrorCode::kInvalidArgument));
  }
  BOOST_TEST(*stream->Feed(Byte(0x81)) == "\xE2\x96\x81");
}

BOOST_AUTO_TEST_CASE(NothingIsAllocated) {
  const OpenTokenizer tokenizer = OpenTokenizer::Gguf(VocabFile());
  BOOST_REQUIRE_MESSAGE(tokenizer, tokenizer.Why());
  Owned stream(*tokenizer, {});
  std::size_t bytes = 0;
  const inlay_test::AllocationScope scope;
  for (TokenId id = 0; tokenizer->vocabulary().Contains(id); ++id) bytes += stream->Feed(id)->size();
  const auto counts = scope.counts();
  BOOST_TEST(bytes > 256u);
  BOOST_TEST(counts.allocations == 0u);
}

BOOST_AUTO_TEST_SUITE_END()
