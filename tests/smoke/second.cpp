// The second translation unit of the smoke test: models whose shape is only known at run time.
#include <array>
#include <cstddef>

#include "smoke.hpp"

float SumOfDecodedRow(inlay::WeightType type) {
  std::array<float, 256> row = {};
  row.fill(1.0f);
  std::array<std::byte, 1024> encoded = {};
  inlay::EncodeRow(type, row.data(), row.size(), encoded.data());
  inlay::DecodeRow(type, encoded.data(), row.size(), row.data());
  float sum = 0.0f;
  for (const float value : row) sum += value;
  return sum;
}

inlay::Result<std::string> StoryOfAnyModelInMemory(std::span<const std::byte> file, std::size_t tokens) {
  return StoryInMemory<inlay::AnyModel>(file, tokens);
}

std::string StoryOfAnyModel(const char* path) { return Story<inlay::AnyModel>(path); }
