/*
 * Test of image/demangle: names of C++ and Rust, and what is none.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/demangle.h"

#include <stdio.h>
#include <string.h>

#include "tests/lib/check.h"

static const struct {
	const char *symbol, *name;
} symbols[] = {
	/* C++, as the Itanium ABI writes it */
	{ "_ZN2at6native3addERKNS_6TensorES3_", "at::native::add" },
	{ "_ZN3c1019UndefinedTensorImpl10_singletonE",
	  "c10::UndefinedTensorImpl::_singleton" },
	{ "_ZNSt6vectorIiSaIiEE9push_backERKi",
	  "std::vector<int, std::allocator<int> >::push_back" },
	{ "_ZN12_GLOBAL__N_14openEPKc", "(anonymous namespace)::open" },
	{ "_Znwm", "operator new" },
	{ "_ZTVN3net7SessionE", "vtable for net::Session" },
	/* Rust: version 0, and the older one with its hash */
	{ "_RNvNtCs1234_7mycrate3foo3bar", "mycrate::foo::bar" },
	{ "_ZN3std2io5stdio6_print17h0123456789abcdefE",
	  "std::io::stdio::_print" },
	/* others */
	{ "PyEval_RestoreThread", "PyEval_RestoreThread" },
	{ "memcpy@GLIBC_2.14", "memcpy" },
	{ "_ZdlPv@@GLIBCXX_3.4", "operator delete" },
	{ "_PyEval_EvalFrameDefault", "_PyEval_EvalFrameDefault" },
	{ "_start", "_start" },
	{ "_Z", "_Z" },
	{ "_ZN", "_ZN" },
	{ "_R", "_R" },
	{ "", "" },
};

static const struct {
	const char *type, *name;
} types[] = {
	{ "N3c1010TensorImplE", "c10::TensorImpl" },
	{ "*N12_GLOBAL__N_14PoolE", "(anonymous namespace)::Pool" },
	{ "7Session", "Session" },
	{ "St6vectorIiSaIiEE", "std::vector<int, std::allocator<int> >" },
	{ "9", "9" },
	{ "", "" },
};

static void test_names(void)
{
	char text[DEMANGLE_MAX];

	for (size_t i = 0; i < sizeof(symbols) / sizeof(symbols[0]); i++)
		CHECK_STRING(symbols[i].symbol, demangle(symbols[i].symbol, text),
			  symbols[i].name);
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
		CHECK_STRING(types[i].type, demangle_type(types[i].type, text),
			  types[i].name);
}

/** Each argument names the one before it twice: 2^depth when written out. */
static void bomb(char *symbol, size_t size, int depth)
{
	static const char digits[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ";
	// f is S_, A S0_, its instance S1_, B S2_, and B's instances follow.
	size_t used = (size_t)snprintf(symbol, size, "_Z1fI1AIiiE1BIS1_S1_E");

	for (int i = 3; i < depth + 3; i++)
		used += (size_t)snprintf(symbol + used, size - used,
					 "S2_IS%c_S%c_E", digits[i], digits[i]);
	(void)snprintf(symbol + used, size - used, "Evv");
}

static void test_long(void)
{
	char text[DEMANGLE_MAX], symbol[32 << 10];
	size_t used;

	bomb(symbol, sizeof(symbol), 30);
	demangle(symbol, text);
	CHECK_U64("a bomb has an end", strlen(text), DEMANGLE_MAX - 1);
	CHECK("and is one", strncmp(text, "f<A<int, int>, B<A<int", 22) == 0);

	used = (size_t)snprintf(symbol, sizeof(symbol), "_ZN");
	for (int i = 0; i < 100; i++)
		used += (size_t)snprintf(symbol + used, sizeof(symbol) - used,
					 "5level");
	(void)snprintf(symbol + used, sizeof(symbol) - used, "E");
	demangle(symbol, text);
	CHECK_U64("a long name is cut", strlen(text), DEMANGLE_MAX - 1);
	CHECK("and says so", strcmp(text + strlen(text) - 3, "…") == 0);
	CHECK("at its end", strncmp(text, "level::level::", 14) == 0);

	memset(symbol, 'x', sizeof(symbol) - 1);
	symbol[sizeof(symbol) - 1] = '\0';
	demangle(symbol, text);
	CHECK_U64("one that is not mangled as well", strlen(text),
		  DEMANGLE_MAX - 1);
	memcpy(symbol, "_Z", 2);
	memset(symbol + 2, 'P', sizeof(symbol) - 3);
	CHECK_U64("nor one too deep", strlen(demangle(symbol, text)),
		  DEMANGLE_MAX - 1);
	memset(symbol + 2, 'P', 8000);
	memcpy(symbol + 8000, "i", 2);
	CHECK("nor one of a deep type",
	      strlen(demangle_type(symbol + 2, text)) < DEMANGLE_MAX);
}

/** Every beginning of every symbol, and with each byte another one. */
static void test_damaged(void)
{
	char text[DEMANGLE_MAX], symbol[128];

	for (size_t i = 0; i < sizeof(symbols) / sizeof(symbols[0]); i++) {
		size_t size = strlen(symbols[i].symbol);

		for (size_t at = 0; at < size; at++) {
			for (const char *to = "EIS0_N9XLT\x80"; *to; to++) {
				(void)snprintf(symbol, sizeof(symbol), "%s",
					       symbols[i].symbol);
				symbol[at] = *to;
				demangle(symbol, text);
				demangle_type(symbol, text);
				symbol[at + 1] = '\0';
				demangle(symbol, text);
			}
		}
	}
	CHECK("damaged symbols harm nobody", true);
}

int main(void)
{
	test_names();
	test_long();
	test_damaged();
	return check_result();
}
