// What a forward pass hands out: views of the workspace.
#ifndef INLAY_MODEL_OUTPUTS_HPP_
#define INLAY_MODEL_OUTPUTS_HPP_

#include <cstddef>
#include <span>

#include "inlay/core/macros.hpp"

INLAY_BEGIN_NAMESPACE

// Logits of some positions: [rows, vocab]. Valid until the workspace is used again.
struct LogitsView {
  const float* data = nullptr;
  std::size_t rows = 0;
  std::size_t vocab = 0;

  std::span<const float> row(std::size_t index) const { return {data + index * vocab, vocab}; }
};

// Last hidden states (after the final norm) of some positions: [rows, dim], rows `stride` apart. Valid until the workspace
// is used again.
struct HiddenView {
  const float* data = nullptr;
  std::size_t rows = 0;
  std::size_t dim = 0;
  std::size_t stride = 0;

  std::span<const float> row(std::size_t index) const { return {data + index * stride, dim}; }
};

INLAY_END_NAMESPACE

#endif  // INLAY_MODEL_OUTPUTS_HPP_
