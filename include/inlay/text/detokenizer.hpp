// A stream of tokens to a stream of text that can be printed as it comes: no character is ever cut in two.
#ifndef INLAY_TEXT_DETOKENIZER_HPP_
#define INLAY_TEXT_DETOKENIZER_HPP_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

#include "inlay/core/arena.hpp"
#include "inlay/core/macros.hpp"
#include "inlay/core/result.hpp"
#include "inlay/core/token.hpp"
#include "inlay/text/tokenizer.hpp"
#include "inlay/text/utf8.hpp"

INLAY_BEGIN_NAMESPACE

// Which space, that the tokeniser put before the text and nobody wrote, is taken off again.
enum class LeadingSpace : std::uint8_t {
  kKeep,
  // Where the vocabulary adds one: that which begins
  kStripAfterBos,  // the token after a beginning-of-sequence token, as llama2.c does
  kStripFirst,     // the first token, as llama.cpp's detokenize does
};

struct DetokenizeOptions {
  // Writes control and unknown tokens as their pieces instead of leaving them out.
  bool special = false;
  LeadingSpace leading_space = LeadingSpace::kStripAfterBos;
};

// Turns the tokens of one sequence into text. A character whose bytes are spread over tokens is held back until it is
// complete; bytes that can no longer become a character pass unchanged. Holds a reference to the tokeniser, which must
// outlive it. Its memory is taken from the arena at creation; Feed allocates nothing.
class Detokenizer {
 public:
  // The arena bytes that Create takes.
  static std::size_t MemoryBytes(const Tokenizer& tokenizer) {
    return ArenaBytes<char>(kMaxHeld + tokenizer.max_piece_bytes());
  }

  static Result<Detokenizer> Create(const Tokenizer& tokenizer, const DetokenizeOptions& options, Arena& arena) {
    INLAY_ASSIGN_OR_RETURN(const std::span<char> buffer,
                           arena.Allocate<char>(kMaxHeld + tokenizer.max_piece_bytes(), "detokenizer"));
    return Detokenizer(tokenizer, options, buffer);
  }

  // The text that `token` completes: empty, or whole characters. Valid until the next call.
  // kInvalidArgument: no such token; nothing changes then.
  Result<std::string_view> Feed(TokenId token) {
    // What was returned last time makes room; what was held back then is the beginning now.
    std::memmove(buffer_.data(), buffer_.data() + returned_, held_);
    returned_ = 0;
    INLAY_ASSIGN_OR_RETURN(std::size_t size, tokenizer_->Decode(token, buffer_.subspan(held_), options_.special));
    const bool strip = strip_next_ && size != 0 && buffer_[held_] == ' ';
    if (strip) std::memmove(buffer_.data() + held_, buffer_.data() + held_ + 1, --size);
    strip_next_ = options_.leading_space == LeadingSpace::kStripAfterBos && token == tokenizer_->bos() &&
                  tokenizer_->add_space_prefix();

    const std::string_view text(buffer_.data(), held_ + size);
    held_ = IncompleteUtf8Suffix(text);
    returned_ = text.size() - held_;
    return text.substr(0, returned_);
  }

  // The bytes still held back, at the end of the sequence: the beginning of a character that never came. Starts anew.
  // Valid until the next call.
  std::string_view Flush() {
    const std::string_view rest(buffer_.data() + returned_, held_);
    Reset();
    return rest;
  }

  // Forgets what is held back and begins a new sequence.
  void Reset() {
    held_ = 0;
    returned_ = 0;
    strip_next_ = options_.leading_space == LeadingSpace::kStripFirst && tokenizer_->add_space_prefix();
  }

 private:
  // A character of four bytes lacks at least one.
  static constexpr std::size_t kMaxHeld = 3;

  Detokenizer(const Tokenizer& tokenizer, const DetokenizeOptions& options, std::span<char> buffer)
      : tokenizer_(&tokenizer), options_(options), buffer_(buffer) {
    Reset();
  }

  const Tokenizer* tokenizer_;
  DetokenizeOptions options_;
  std::span<char> buffer_;  // [what was returned | what is held back | room]
  std::size_t returned_ = 0;
  std::size_t held_ = 0;
  bool strip_next_ = false;
};

INLAY_END_NAMESPACE

#endif  // INLAY_TEXT_DETOKENIZER_HPP_
