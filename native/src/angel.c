/* Placeholder until the angel lands. */
int main(void) { return 1; }
