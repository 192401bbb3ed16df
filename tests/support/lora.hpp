// Adapters made of random numbers, in memory.
#ifndef INLAY_TESTS_SUPPORT_LORA_HPP_
#define INLAY_TESTS_SUPPORT_LORA_HPP_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
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
};

// An adapter of one rank for these matrices; `gain` is about how much an output changes, relative to one of the matrix.
inline FileContents RandomLora(const std::vector<LoraTarget>& targets, std::size_t rank, float alpha, std::uint64_t seed,
                               float gain = 0.3f) {
  FileContents contents;
  contents.Set("general.architecture", std::string("llama"));
  contents.Set("general.type", std::string("adapter"));
  contents.Set("adapter.type", std::string("lora"));
  contents.Set("adapter.lora.alpha", alpha);
  Random random(seed);
  const float scale = alpha == 0.0f ? 1.0f : alpha / static_cast<float>(rank);
  for (const LoraTarget& target : targets) {
    std::vector<float> a(rank * target.cols), b(target.rows * rank);
    for (float& value : a) value = random.Symmetric() * std::sqrt(3.0f / static_cast<float>(target.cols));
    for (float& value : b) value = random.Symmetric() * gain * std::sqrt(3.0f / static_cast<float>(rank)) / scale;
    contents.tensors.push_back(FloatTensor(target.base + ".lora_a", {target.cols, rank}, a));
    contents.tensors.push_back(FloatTensor(target.base + ".lora_b", {rank, target.rows}, b));
  }
  return contents;
}

}  // namespace inlay_test

#endif  // INLAY_TESTS_SUPPORT_LORA_HPP_
