// What both translation units of the consumer include and compute.
#ifndef CONSUMER_HPP_
#define CONSUMER_HPP_

#if defined(INLAY_CONSUMER_SINGLE_HEADER)
#include <inlay.hpp>
#else
#include <inlay/inlay.hpp>
#endif

#include <array>
#include <cstddef>

struct Outcome {
  float sum;             // of decoded weights: the same in every translation unit, whatever it was compiled for
  float normalized;      // of a SIMD kernel: the same where the CPU is the same
  const char* abi_name;  // of the library's inline namespace: different where the CPU is
};

#define CONSUMER_TEXT_OF(name) #name
#define CONSUMER_TEXT(name) CONSUMER_TEXT_OF(name)

namespace {

Outcome Compute() {
  std::array<float, 256> row = {};
  for (std::size_t i = 0; i < row.size(); ++i) row[i] = static_cast<float>(i) - 100.0f;
  std::array<std::byte, 1024> encoded = {};
  inlay::ThreadPool pool(2);
  float sum = 0.0f;
  for (const inlay::WeightType type : inlay::AllFormats::kList) {
    inlay::EncodeRow(type, row.data(), row.size(), encoded.data());
    std::array<float, 256> decoded = {};
    pool.Run(1, [&](std::size_t) { inlay::DecodeRow(type, encoded.data(), decoded.size(), decoded.data()); });
    for (const float value : decoded) sum += value;
  }
  std::array<float, 256> ones = {};
  ones.fill(1.0f);
  inlay::HWY_NAMESPACE::RmsNorm(row.data(), ones.data(), row.size(), 1e-5f, row.data());
  float normalized = 0.0f;
  for (const float value : row) normalized += value;
  return {sum, normalized, CONSUMER_TEXT(INLAY_ABI_NAMESPACE)};
}

}  // namespace

#endif  // CONSUMER_HPP_
