// Where tokenisers put their tokens. Apart because every algorithm writes through it.
#ifndef INLAY_TEXT_TOKEN_WRITER_HPP_
#define INLAY_TEXT_TOKEN_WRITER_HPP_

#include <cstddef>
#include <span>

#include "inlay/core/macros.hpp"
#include "inlay/core/token.hpp"

INLAY_BEGIN_NAMESPACE

// Fills memory of the caller and, when that is full, goes on counting: so an error can say how much room was needed.
class TokenWriter {
 public:
  explicit TokenWriter(std::span<TokenId> out) : out_(out) {}

  void Push(TokenId token) {
    if (count_ < out_.size()) out_[count_] = token;
    ++count_;
  }
  // Pushes the tokens `first` to `first + count` once more, all of which must have found room.
  void Repeat(std::size_t first, std::size_t count) {
    for (std::size_t i = first; i != first + count; ++i) Push(out_[i]);
  }
  // Tokens pushed, those for which there was no room included.
  std::size_t count() const { return count_; }
  bool overflowed() const { return count_ > out_.size(); }

 private:
  std::span<TokenId> out_;
  std::size_t count_ = 0;
};

INLAY_END_NAMESPACE

#endif  // INLAY_TEXT_TOKEN_WRITER_HPP_
