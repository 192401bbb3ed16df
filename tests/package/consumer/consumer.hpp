// What both translation units of the consumer include and compute.
#ifndef CONSUMER_HPP_
#define CONSUMER_HPP_

#if defined(INLAY_CONSUMER_SINGLE_HEADER)
#include <inlay.hpp>
#else
#include <inlay/core/thread_pool.hpp>
#include <inlay/formats/codec.hpp>
#endif

#include <array>
#include <cstddef>

struct Outcome {
  float sum;             // the same in every translation unit, whatever it was compiled for
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
  return {sum, CONSUMER_TEXT(INLAY_ABI_NAMESPACE)};
}

}  // namespace

#endif  // CONSUMER_HPP_
