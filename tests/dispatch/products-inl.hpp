// Quantising, multiplying and converting for one target; products_test.cpp has Highway include this file once for each.

#include <cstddef>
#include <cstdint>

#include "inlay/formats/weight_type.hpp"
#include "inlay/kernels/activations.hpp"
#include "inlay/kernels/matmul-inl.hpp"
#include "inlay/kernels/output.hpp"
#include "inlay/kernels/quantize-inl.hpp"
#include "tests/dispatch/products.hpp"

#if defined(INLAY_TESTS_DISPATCH_PRODUCTS_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef INLAY_TESTS_DISPATCH_PRODUCTS_INL_HPP_
#undef INLAY_TESTS_DISPATCH_PRODUCTS_INL_HPP_
#else
#define INLAY_TESTS_DISPATCH_PRODUCTS_INL_HPP_
#endif

HWY_BEFORE_NAMESPACE();
namespace inlay_test {
namespace HWY_NAMESPACE {

inline HWY_NOINLINE void Load16Halves(const std::uint16_t* from, float* to) {
  inlay::HWY_NAMESPACE::Store16(inlay::HWY_NAMESPACE::LoadF16x16(from), to);
}
inline HWY_NOINLINE void Store16Halves(const float* from, std::uint16_t* to) {
  inlay::HWY_NAMESPACE::StoreF16x16(inlay::HWY_NAMESPACE::Load16(from), to);
}

}  // namespace HWY_NAMESPACE
}  // namespace inlay_test
HWY_AFTER_NAMESPACE();

namespace inlay_test {

template <>
struct ProductOn<HWY_TARGET> {
  static constexpr bool kCompiled = true;
  static void Run(inlay::WeightType type, const std::byte* packed, std::size_t rows, std::size_t cols,
                  const inlay::Activations& x, std::size_t tokens, float* out) {
    inlay::HWY_NAMESPACE::QuantizeRows(inlay::ActivationKindOf(type), cols, 0, tokens, x);
    inlay::HWY_NAMESPACE::MatMul<ProductFormats>(type, packed, rows, inlay::DynamicExtent{cols}, x, 0, tokens, 0, rows,
                                                 inlay::Output{out, rows, false});
  }
  static void LoadHalves(const std::uint16_t* from, float* to, std::size_t n) {
    for (std::size_t i = 0; i < n; i += 16) HWY_NAMESPACE::Load16Halves(from + i, to + i);
  }
  static void StoreHalves(const float* from, std::uint16_t* to, std::size_t n) {
    for (std::size_t i = 0; i < n; i += 16) HWY_NAMESPACE::Store16Halves(from + i, to + i);
  }
};

}  // namespace inlay_test

#endif  // toggle guard
