// Adapters made of random numbers, in memory.
#ifndef INLAY_TESTS_SUPPORT_LORA_HPP_
#define INLAY_TESTS_SUPPORT_LORA_HPP_

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/random_model.hpp"

namespace inlay_test {

inline FileTensor FloatTensor(std::string name, std::vector<std::uint64_t> dims, const std::vector<float>& values) {
  FileTensor tensor{std::move(name), 0, std::move(dims), AlignedBytes(values.size() * sizeof(float))};
  std::memcpy(tensor.data.data(), values.data(), tensor.data.size());
  return tensor;
}

struct LoraTarget {
  std::string base;
  std::size_t rows;
  std::size_t cols;
  std::size_t count = 1;  // of matrices in the tensor
};

// An adapter of one rank for these matrices; `gain` is about how much an output changes, relative to one of the matrix.
inline FileContents RandomLora(const std::vector<LoraTarget>& targets, std::size_t rank, float alpha, std::uint64_t seed,
                               float gain = 0.3f, std::string architecture = "llama") {
  FileContents contents;
  contents.Set("general.architecture", std::move(architecture));
  contents.Set("general.type", std::string("adapter"));
  contents.Set("adapter.type", std::string("lora"));
  contents.Set("adapter.lora.alpha", alpha);
  Random random(seed);
  const float scale = alpha == 0.0f ? 1.0f : alpha / static_cast<float>(rank);
  for (const LoraTarget& target : targets) {
    // Of a table of embeddings A is stored transposed: a row per token.
    const bool table = target.base == "token_embd.weight";
    std::vector<float> a(rank * (table ? target.rows : target.cols) * target.count);
    std::vector<float> b(rank * (table ? target.cols : target.rows) * target.count);
    for (float& value : a) value = random.Symmetric() * std::sqrt(3.0f / (table ? 1.0f : static_cast<float>(target.cols)));
    for (float& value : b) value = random.Symmetric() * gain * std::sqrt(3.0f / static_cast<float>(rank)) / scale;
    std::vector<std::uint64_t> a_dims{target.cols, rank}, b_dims{rank, table ? target.cols : target.rows};
    if (table) a_dims = {rank, target.rows};
    if (target.count != 1) {
      a_dims.push_back(target.count);
      b_dims.push_back(target.count);
    }
    contents.tensors.push_back(FloatTensor(target.base + ".lora_a", a_dims, a));
    contents.tensors.push_back(FloatTensor(target.base + ".lora_b", b_dims, b));
  }
  return contents;
}

}  // namespace inlay_test

#endif  // INLAY_TESTS_SUPPORT_LORA_HPP_
