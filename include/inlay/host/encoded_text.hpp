// A text's tokens, for programs that have a heap.
#ifndef INLAY_HOST_ENCODED_TEXT_HPP_
#define INLAY_HOST_ENCODED_TEXT_HPP_

#include <algorithm>
#include <cstddef>
#include <span>
#include <string_view>

#include "inlay/core/macros.hpp"
#include "inlay/core/owned_buffer.hpp"
#include "inlay/core/result.hpp"
#include "inlay/core/token.hpp"
#include "inlay/text/tokenizer.hpp"

INLAY_BEGIN_NAMESPACE

// The tokens of a text, in memory of their own.
class EncodedText {
 public:
  EncodedText() = default;  // no tokens

  // Errors: those of Tokenizer::Encode, kOutOfMemory when the heap refuses.
  // Memory: 8 bytes for each byte of text, of which as much is used as there are tokens, and while it works 67 for each
  // byte of the longest word.
  static Result<EncodedText> Create(const Tokenizer& tokenizer, std::string_view text, const EncodeOptions& options = {}) {
    EncodedText encoded;
    const std::size_t most = tokenizer.MaxTokens(text.size());
    INLAY_ASSIGN_OR_RETURN(encoded.memory_, OwnedBuffer::Create(most * sizeof(TokenId), "tokens"));
    const std::span<TokenId> out(reinterpret_cast<TokenId*>(encoded.memory_.bytes().data()), most);
    // What the longest word needs is not known beforehand: it is short in ordinary text, and all of the text at worst.
    const std::size_t enough = tokenizer.EncodeScratchBytes(text.size());
    for (std::size_t size = std::min(enough, kFirstScratch);; size = std::min(enough, 8 * size)) {
      INLAY_ASSIGN_OR_RETURN(OwnedBuffer scratch, OwnedBuffer::Create(size, "tokenizer scratch"));
      const Result<std::size_t> count = tokenizer.Encode(text, options, scratch.bytes(), out);
      if (!count && count.error().code == ErrorCode::kOutOfMemory && size < enough) continue;
      INLAY_ASSIGN_OR_RETURN(encoded.count_, count);
      return encoded;
    }
  }

  std::span<const TokenId> tokens() const {
    return {reinterpret_cast<const TokenId*>(memory_.bytes().data()), count_};
  }

 private:
  static constexpr std::size_t kFirstScratch = 64 << 10;

  OwnedBuffer memory_;
  std::size_t count_ = 0;
};

INLAY_END_NAMESPACE

#endif  // INLAY_HOST_ENCODED_TEXT_HPP_
