// What an algorithm of tokenisation looks like to Tokenizer. An algorithm is a class A with
//
//   static constexpr TokenizerModel kModel;
//   static bool Reads(std::string_view model);                         // is this value of tokenizer.ggml.model its?
//   static Result<TokenizerDefaults> Defaults(const GgufFile&);        // what holds where the file says nothing
//   static Result<std::size_t> ArenaBytesFor(const GgufFile&);         // for its tables, besides the vocabulary
//   static Result<A> Create(const GgufFile&, const Vocabulary&, Arena&);
//   std::size_t ScratchBytes(std::size_t text_bytes) const;            // with which Encode never fails
//   std::size_t MaxTokens(std::size_t text_bytes) const;               // for a text without special tokens
//   Result<void> Encode(const Vocabulary&, const EncodeTask&) const;   // appends the tokens of a text
//
// immutable and trivially destructible once it is made.
#ifndef INLAY_TEXT_ALGORITHM_HPP_
#define INLAY_TEXT_ALGORITHM_HPP_

#include <cstdint>

#include "inlay/core/macros.hpp"
#include "inlay/core/token.hpp"

INLAY_BEGIN_NAMESPACE

// How a vocabulary cuts text into tokens.
enum class TokenizerModel : std::uint8_t {
  kSentencePieceBpe,
  kBytePairEncoding,
  kWordPiece,
  kUnigram,
};

// How pieces spell text.
enum class PieceSpelling : std::uint8_t {
  kSpaceMarks,   // as it is, but a space is U+2581
  kMappedBytes,  // each byte is a printable character, see byte_mapping.hpp
};

// What an algorithm, and the name of the pre-tokeniser, take for granted unless the file says otherwise.
struct TokenizerDefaults {
  PieceSpelling spelling = PieceSpelling::kSpaceMarks;
  bool needs_scores = false;
  // Ids count only where the token there is a special one.
  TokenId bos = kNoToken;
  TokenId eos = kNoToken;
  TokenId unknown = kNoToken;
  TokenId separator = kNoToken;
  TokenId padding = kNoToken;
  TokenId mask = kNoToken;
  bool add_bos = false;
  bool always_add_bos = false;  // whatever the file says
  bool add_eos = false;
  bool add_separator = false;
  bool ends_with_separator = false;  // the separator stands where others have the end of sequence
  bool add_space_prefix = false;
  bool cleans_spaces = false;
};

INLAY_END_NAMESPACE

#endif  // INLAY_TEXT_ALGORITHM_HPP_
